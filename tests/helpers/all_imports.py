"""What commands that train import, whether at once or when they first need it; see `commands`."""

import importlib

for name in (
    *("cv2", "faiss", "jsonargparse", "simplejpeg", "timm", "torch.distributed.launcher.api"),
    *("orl_explore.selective_search", "training.cli.command", "training.evaluate", "training.pipeline"),
):
    importlib.import_module(name)
