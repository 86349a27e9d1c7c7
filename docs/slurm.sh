#!/bin/bash
# All stages on 2 machines with 8 GPUs each: sbatch docs/slurm.sh runs/coco --config coco --images COCO.json
# The folder of the run and the images lie on a file system that both machines see.
#SBATCH --job-name=orl
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=USR1@180
# USR1 reaches every process three minutes before the end of --time: the step is finished and saved, and orl ends with 143.

export OMP_NUM_THREADS=1

srun --kill-on-bad-exit=1 orl run "$@"
code=$?
if [ "$code" -eq 143 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
