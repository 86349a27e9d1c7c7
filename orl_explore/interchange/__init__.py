"""Files of other tools in and out: the ORL authors' JSON and checkpoints, COCO, FiftyOne, CSV, bundles, weights."""
