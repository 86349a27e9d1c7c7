"""Images in: what a folder, a list or a COCO json holds, decoded and checked once."""
