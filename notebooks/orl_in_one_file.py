"""ORL in one file: representations of objects, learned from a folder of pictures without a single label.

    python orl_in_one_file.py --images FOLDER --small      some dozen pictures: a few minutes on a CPU
    python orl_in_one_file.py --images FOLDER              the paper's settings: many thousand pictures, and a GPU

1. BYOL (section 3.1): a network learns to foresee what a slowly moving copy of itself says of another view of an image.
2. Correspondences (section 3.2): with that network, find images that are alike, and in them regions that are alike.
3. ORL (section 3.3): a new network learns from two views of an image, from a region and a shifted copy of it, and from
   two regions that correspond.

The paper is "Unsupervised Object-Level Representation Learning from Scene Images" (NeurIPS 2021, arXiv 2106.11952).
Left out is what is no part of the method: several devices, restarts, and sets of images that are too large for memory.
In comments: N images, B in a batch, S the side of a view, D the width of an embedding, K neighbors of an image, Q and R
boxes in two images. A box is x, y, w, h in pixels of its image, from the top left.
"""
# ruff: noqa: D101, D102, D103 - what a function does stands beside its name

import argparse
import ast
import copy
import ctypes
import math
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
import torchvision
from torch import nn
from torchvision.transforms.v2 import functional as tvf

# ---- settings: the paper's (section 4.1). Any of them can be given on the command line, as in --epochs 100 -----------

IMAGES, OUT = "images", "orl.pt"  # folder of pictures, with its subfolders; file for encoders and correspondences
LONGEST = None  # longest side to which a larger image is scaled when it is read, pixels; None leaves it as it is
SEED, WORKERS = 0, 8  # everything random derives from it; threads that draw the views of the next batch
BACKBONE, HIDDEN, DIM = "resnet50", 4096, 256  # a torchvision ResNet; width inside an MLP; width of a projection
SIZE, PATCH = 224, 96  # side of an image's view, pixels; side of a region's view in stage 3
CROP_SCALE, CROP_RATIO = (0.08, 1.0), (3 / 4, 4 / 3)  # share of the image in a random crop; width / height of the crop
FLIP, JITTER, GRAY = 0.5, 0.8, 0.2  # probability of a flip, of a color jitter, of the loss of all color
BRIGHTNESS, CONTRAST, SATURATION, HUE = 0.4, 0.4, 0.2, 0.1  # how far a color jitter goes
BLUR, SOLARIZE = (1.0, 0.1), (0.0, 0.2)  # probability of a blur and of solarization, for view 1 and for view 2
BLUR_SIGMA = (0.1, 2.0)  # of the Gaussian blur, pixels of the view
EPOCHS, WARMUP = 800, 4  # epochs of stage 1, and again of stage 3; how many of them warm up
BATCH, LR = 512, 0.4  # images in a step, a multiple of 8; learning rate for 512 of them, other batches scale it
MOMENTUM, WEIGHT_DECAY, EMA = 0.9, 1e-4, 0.99  # momentum of SGD; its weight decay; momentum of the target, at first
NEIGHBORS, PAIR_RATIO = 10, 0.1  # neighbors of an image; pairs with each, as a share of the image's boxes
MIN_SIDE, MAX_ASPECT = 96, 3.0  # least shorter side of a box, pixels of the image; most of longer / shorter side
MAX_IOU, MAX_BOXES = 0.5, 100  # most overlap with a box that is kept; most boxes kept in an image

# ---- small: what --small takes instead, which is not the paper's. For few pictures, made small, and few steps. -------
# Patches have 64 px, as of 32 px a ResNet keeps a single cell. A higher learning rate and a target that follows faster:
# at the paper's pace it would still be the untrained network in the end.
SMALL = {"BACKBONE": "resnet18", "HIDDEN": 1024, "SIZE": 64, "PATCH": 64, "BLUR_SIGMA": (0.1, 0.6), "MIN_SIDE": 24}
SMALL |= {"LONGEST": 240, "EPOCHS": 12, "WARMUP": 1, "BATCH": 16, "LR": 4.0, "EMA": 0.97, "NEIGHBORS": 5, "WORKERS": 1}


def read_settings():  # the command line replaces the constants, whose comments are its help
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help=f"settings for a first try: {SMALL}")
    for names, comment in re.findall(r"^([A-Z_, ]+) = .+?  # (.+)$", Path(__file__).read_text("utf-8"), re.MULTILINE):
        notes = comment.split("; ") if ", " in names and "; " in comment else [comment] * 9  # one for each, or for all
        for name, note in zip(names.split(", "), notes, strict=False):
            kind = str if isinstance(globals()[name], str) else ast.literal_eval
            parser.add_argument(f"--{name.lower()}", type=kind, metavar="", help=f"{note} ({globals()[name]})")
    given = {name.upper(): value for name, value in vars(parser.parse_args()).items() if value is not None}
    globals().update((SMALL if given.pop("SMALL") else {}) | given)


# ---- images and views (section 3.1) ----------------------------------------------------------------------------------


def read_image(path):  # -> uint8 (3, height, width), RGB, turned as its EXIF data say
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise SystemExit(f"{path} cannot be read as a picture: repair it or take it away")
    if LONGEST and max(pixels.shape) > LONGEST:
        scale = LONGEST / max(pixels.shape)
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def random_crop(rng, width, height):  # -> box; where none of ten fits, the largest one in the middle
    for _ in range(10):
        area, aspect = width * height * rng.uniform(*CROP_SCALE), math.exp(rng.uniform(*np.log(CROP_RATIO)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1)), w, h
    aspect = min(max(width / height, CROP_RATIO[0]), CROP_RATIO[1])
    w, h = min(width, round(height * aspect)), min(height, round(width / aspect))
    return (width - w) // 2, (height - h) // 2, w, h


def draw_view(rng, box, number):  # all that is random about a box's view, number 0 or 1 of a pair, before any pixel
    flip, jitter, gray, blur, solarize = rng.random(5) < (FLIP, JITTER, GRAY, BLUR[number], SOLARIZE[number])
    steps = {"brightness": BRIGHTNESS, "contrast": CONTRAST, "saturation": SATURATION, "hue": HUE}
    colors = []
    for name in rng.permutation(list(steps)).tolist() if jitter else []:  # the order is random, too
        middle = 0 if name == "hue" else 1  # hue is shifted round the color circle, the others are multiplied
        colors.append((name, rng.uniform(middle - steps[name], middle + steps[name])))
    blur = rng.uniform(*BLUR_SIGMA) if blur else None  # from here on its sigma
    return {"box": box, "flip": flip, "colors": colors, "gray": gray, "blur": blur, "solarize": solarize}


def crop(image, box, size):  # -> uint8 (3, size, size); antialiased, as most boxes are larger than that
    x, y, w, h = (int(value) for value in box)
    return tvf.resized_crop(image, y, x, h, w, [size, size], antialias=True)


def render(image, view, size):  # the pixels of a view: uint8 (3, size, size)
    picture = crop(image, view["box"], size)
    if view["flip"]:
        picture = tvf.horizontal_flip(picture)
    for name, amount in view["colors"]:
        picture = getattr(tvf, f"adjust_{name}")(picture, amount)
    if view["gray"]:
        picture = tvf.rgb_to_grayscale(picture, num_output_channels=3)
    if view["blur"]:  # three standard deviations to each side hold 99.7 % of the kernel
        picture = tvf.gaussian_blur(picture, 2 * math.ceil(3 * view["blur"]) + 1, view["blur"])
    return tvf.solarize(picture, 128) if view["solarize"] else picture


def normalize(pictures):  # uint8 (B, 3, S, S) -> float32, by ImageNet's mean and standard deviation
    return tvf.normalize(pictures.float() / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


# ---- networks and loss (sections 3.1 and 4.1) ------------------------------------------------------------------------


def mlp(width):  # a projector or predictor; nothing follows the last layer, so that projections may point anywhere
    hidden = [nn.Linear(width, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU(inplace=True)]
    return nn.Sequential(*hidden, nn.Linear(HIDDEN, DIM, bias=False))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = torchvision.models.get_model(BACKBONE)
        self.projector = mlp(self.backbone.fc.in_features)
        self.backbone.fc = nn.Identity()  # in place of a classifier: it ends with the average over positions, 2048-d

    def forward(self, pictures):  # (B, 3, S, S), normalized -> projections (B, DIM)
        return self.projector(self.backbone(pictures))


def regression_loss(prediction, target):  # 2 - 2 cos, a squared distance on the sphere; (B, DIM), (B, DIM) -> scalar
    return (2 - 2 * nn.functional.cosine_similarity(prediction.float(), target.float(), dim=1)).mean()


class Twins(nn.Module):  # an online network, a target network that follows it, and a predictor for each kind of pair
    def __init__(self, kinds):
        super().__init__()
        self.online = Encoder()
        self.predictors = nn.ModuleDict({kind: mlp(DIM) for kind in kinds})
        generator = torch.Generator().manual_seed(SEED)
        for module in self.modules():  # by fan-in; torchvision's own convolutions go by fan-out
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu", generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.target = copy.deepcopy(self.online).requires_grad_(False)

    def pair_loss(self, kind, view1, view2):  # (B, 3, S, S), (B, 3, S, S) -> 0..8; equation 1, in both directions
        predict = self.predictors[kind]
        # A pass for each view, so that BN has statistics of its own for it; in train mode in the target network, too.
        prediction1, prediction2 = predict(self.online(view1)), predict(self.online(view2))  # (B, DIM)
        with torch.no_grad():  # were both sides free to move, they would agree on a constant
            target1, target2 = self.target(view1), self.target(view2)  # (B, DIM)
        return regression_loss(prediction1, target2) + regression_loss(prediction2, target1)

    @torch.no_grad()
    def update_target(self, momentum):  # parameters alone: BN's running statistics come from its own passes
        for slow, fast in zip(self.target.parameters(), self.online.parameters(), strict=True):
            slow.lerp_(fast, 1 - momentum)


# ---- schedules and training, the same in stages 1 and 3 (section 4.1) ------------------------------------------------


def target_momentum(step, total):  # rises to 1 along half a cosine: the target averages over ever more steps
    return 1 - (1 - EMA) * (1 + math.cos(math.pi * step / total)) / 2


def learning_rate(step, per_epoch):  # a cosine with one value for each epoch, times a warm-up step by step
    share = min(1, 1e-4 + (1 - 1e-4) * step / (WARMUP * per_epoch)) if WARMUP else 1
    return LR * BATCH / 512 * share * (1 + math.cos(math.pi * (step // per_epoch) / EPOCHS)) / 2


def batches(count):  # yields a generator and a row for each image of a step; the last batch of an epoch may be smaller
    for epoch in range(EPOCHS):
        order = np.random.default_rng([SEED, epoch, 0]).permutation(count)
        # As on the authors' 8 devices, its first images fill the epoch up to a multiple of 8: BN fails on a single one.
        order = np.resize(order, math.ceil(count / 8) * 8).tolist()
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            yield [np.random.default_rng([SEED, epoch, row + 1]) for row in rows], rows


def train(twins, draw, count, device, pool):  # draw: generator, row -> {kind: two views, uint8 (3, S, S)}
    learned = [weight for weight in twins.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(learned, LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)  # decays BN and biases, too
    half = device.type == "cuda"  # float16, whose small gradients vanish unless the loss is scaled up
    scaler = torch.amp.GradScaler(device.type, enabled=half)
    per_epoch, history, plan = math.ceil(math.ceil(count / 8) * 8 / BATCH), [], batches(count)
    coming = pool.map(draw, *next(plan))
    for step in range(EPOCHS * per_epoch):
        samples, coming = list(coming), pool.map(draw, *next(plan, ([], [])))  # drawn by threads during this step
        optimizer.param_groups[0]["lr"] = learning_rate(step, per_epoch)
        losses = {}
        for kind in samples[0]:
            views = [torch.stack([sample[kind][number] for sample in samples]) for number in (0, 1)]  # (B, 3, S, S)
            with torch.autocast(device.type, torch.float16, enabled=half):
                losses[kind] = twins.pair_loss(kind, *(normalize(view.to(device)) for view in views))
        optimizer.zero_grad()
        scaler.scale(sum(losses.values())).backward()  # equation 5: every kind has weight 1
        scaler.step(optimizer)
        scaler.update()
        twins.update_target(target_momentum(step, EPOCHS * per_epoch))
        history.append(torch.stack([loss.detach() for loss in losses.values()]))  # (kinds,)
        if (step + 1) % per_epoch == 0:
            means = torch.stack(history[-per_epoch:]).mean(dim=0).tolist()
            text = ", ".join(f"{kind} {mean:.3f}" for kind, mean in zip(losses, means, strict=True))
            print(f"epoch {step // per_epoch + 1} of {EPOCHS}, mean loss: {text}", flush=True)


# ---- the steps of stage 2 (section 3.2), and of a sample in stage 3 (section 3.3) ------------------------------------


@torch.no_grad()
def embed(network, pictures, device):  # uint8 (3, S, S) each -> rows of length 1, (N, D), in float32
    parts = torch.stack(list(pictures)).split(256)  # (256, 3, S, S) each
    return torch.cat([nn.functional.normalize(network(normalize(part.to(device))), dim=1).cpu() for part in parts])


def nearest_neighbors(embeddings):  # (N, D) -> cosines and rows of the K most similar images, (N, K) each, best first
    similarity = embeddings @ embeddings.T  # (N, N)
    similarity.fill_diagonal_(-math.inf)  # the image itself, by its row: a copy of it may be as similar
    return similarity.topk(min(NEIGHBORS, len(embeddings) - 1), dim=1)


def selective_search(image, seed):  # -> boxes (n, 4) in the order found; `fast` mode, at full resolution
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(image.flip(0).permute(1, 2, 0).contiguous().numpy())  # BGR
    search.switchToSelectiveSearchFast()
    ctypes.CDLL(None).srand(seed)  # the order is drawn by C's rand(), which has no generators: so not in threads
    boxes = np.asarray(search.process(), np.int64).reshape(-1, 4)
    return boxes if len(boxes) else np.array([[0, 0, image.shape[2], image.shape[1]]])


def iou(box, others):  # intersection over union: (4,), (n, 4) -> (n,)
    end = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    common = np.clip(end - np.maximum(box[:2], others[:, :2]), 0, None).prod(axis=1)
    return common / (box[2:].prod() + others[:, 2:].prod(axis=1) - common)


def filter_boxes(boxes):  # (n, 4) -> (Q, 4); in the order found, as that is what settles which of two overlapping stays
    kept = np.empty((0, 4), np.int64)
    for box in boxes:
        shorter, longer = sorted(box[2:])
        if shorter >= MIN_SIDE and longer <= MAX_ASPECT * shorter and not (iou(box, kept) > MAX_IOU).any():
            kept = np.vstack([kept, box])
        if len(kept) == MAX_BOXES:
            break
    return kept if len(kept) else boxes[:1]  # no image is left without a box


def match_regions(query, key):  # (Q, D), (R, D) -> rows in query, rows in key, cosines; best first
    cosines = (query @ key.T).numpy()  # (Q, R)
    top = max(1, int(PAIR_RATIO * len(query)))  # a tenth of the image's boxes, not of the matrix
    here, there = np.divmod(np.argsort(-cosines, axis=None, kind="stable")[:top], len(key))
    return here, there, cosines[here, there]


def jitter_box(rng, box, width, height):  # a second box near a first one, within the image: an intra-RoI pair
    for _ in range(200):
        area, aspect = box[2] * box[3] * rng.uniform(0.5, 2), math.exp(rng.uniform(math.log(0.5), math.log(2)))
        sides = np.sqrt([area * aspect, area / aspect])
        corner = box[:2] + box[2:] / 2 + rng.uniform(-0.5, 0.5, 2) * box[2:] - sides / 2
        drawn = np.rint([*corner, *sides]).astype(np.int64)
        inside = (drawn[:2] >= 0).all() and (drawn[:2] + drawn[2:] <= (width, height)).all()
        if inside and iou(box, drawn[None])[0] > 0.5:
            return drawn
    return box


def draw_pair(rng, sides, size):  # [(image, box), (image, box)] -> two views, uint8 (3, size, size) each
    return [render(image, draw_view(rng, box, number), size) for number, (image, box) in enumerate(sides)]


def image_views(rng, image):  # view 1 and view 2 of a whole image
    return draw_pair(rng, [(image, random_crop(rng, image.shape[2], image.shape[1])) for _ in range(2)], SIZE)


# ---- the three stages ------------------------------------------------------------------------------------------------


def main():
    read_settings()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32 = True, False  # stage 2 wants true float32
    paths = sorted(p for p in Path(IMAGES).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
    if damaged := [path for path in paths if not cv2.haveImageReader(str(path))]:
        print(f"left out, as they are no pictures that can be read: {', '.join(map(str, damaged))}")
    paths = [path for path in paths if path not in damaged]
    if len(paths) < 2:
        raise SystemExit(f"{len(paths)} pictures in {IMAGES}: name a folder with more of them, --images FOLDER")
    pool = ThreadPoolExecutor(WORKERS, initializer=torch.set_num_threads, initargs=(1,))  # or each would start more
    print(f"stage 1: BYOL on {len(paths)} images, {device.type}")
    byol = Twins(["image"]).to(device)
    train(byol, lambda rng, row: {"image": image_views(rng, read_image(paths[row]))}, len(paths), device, pool)

    print("stage 2: correspondences")
    encoder = byol.online.eval()
    # Whole images are compared by their projections, regions by features of the backbone.
    scaled = (tvf.resize(read_image(path), [round(SIZE * 256 / 224)], antialias=True) for path in paths)
    cosines, neighbors = nearest_neighbors(embed(encoder, (tvf.center_crop(i, [SIZE, SIZE]) for i in scaled), device))
    boxes, features = [], []  # of each image: (Q, 4), (Q, 2048)
    for row, path in enumerate(paths):
        image = read_image(path)
        boxes.append(filter_boxes(selective_search(image, SEED + row)))
        features.append(embed(encoder.backbone, (crop(image, box, SIZE) for box in boxes[row]), device))
    pairs, best = [[] for _ in paths], []  # pairs of each image with each neighbor: (P, 8), a box here and a box there
    for row, others in enumerate(neighbors.tolist()):
        for other in others:
            here, there, similarity = match_regions(features[row], features[other])
            pairs[row].append(np.hstack([boxes[row][here], boxes[other][there]]))
            best.append((similarity[0], row, other, pairs[row][-1][0]))
    print(f"boxes: {sum(map(len, boxes))}, pairs: {sum(len(found) for of_image in pairs for found in of_image)}")
    for row in range(0, len(paths), math.ceil(len(paths) / 4)):
        found = (f"{paths[n].name} ({c:.2f})" for n, c in zip(neighbors[row], cosines[row], strict=True))
        print(f"  neighbors of {paths[row].name}:", *found)
    for cosine, row, other, pair in sorted(best, key=lambda entry: -entry[0])[:4]:
        print(f"  boxes that correspond ({cosine:.3f}): {paths[row].name} {pair[:4]}, {paths[other].name} {pair[4:]}")

    print("stage 3: ORL, from new weights, with three predictors")

    def draw_objects(rng, row):
        nth = rng.integers(len(pairs[row]))  # a neighbor first, then a pair with it
        pair, box = rng.choice(pairs[row][nth]), rng.choice(boxes[row])  # (8,), (4,)
        image, neighbor = read_image(paths[row]), read_image(paths[neighbors[row, nth]])
        jittered = jitter_box(rng, box, image.shape[2], image.shape[1])
        intra, inter = [(image, box), (image, jittered)], [(image, pair[:4]), (neighbor, pair[4:])]
        patches = {"intra": draw_pair(rng, intra, PATCH), "inter": draw_pair(rng, inter, PATCH)}
        return {"image": image_views(rng, image), **patches}

    orl = Twins(["image", "intra", "inter"]).to(device)
    train(orl, draw_objects, len(paths), device, pool)
    made = {"stage1": byol.online.state_dict(), "stage3": orl.online.state_dict(), "images": [str(p) for p in paths]}
    torch.save({**made, "neighbors": neighbors, "boxes": boxes, "pairs": pairs}, OUT)
    print(f"{OUT}: encoders of stage 1 and stage 3, images, neighbors, boxes, pairs")


if __name__ == "__main__":
    main()
