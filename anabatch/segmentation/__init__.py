"""Segmentation: a field's signal to label images of nuclei and cells.

`models` finds weights, `cellpose` runs a network and its dynamics, `tiling` takes images through it in
batches of one shape, `recipe` holds the study's five steps, `two_pass` puts them together. `watershed` does without networks;
`protocol` says what both are, and `conformance` whether they are.

Images too large to be held take another road to the same masks: `mosaic` (the recipe), `passes` (one network's pass),
`streams` (its tiles), `seams` (blocks), `finishing`; on `scratch` (images on disk), `views` (windows computed when
asked for), `equalisation` and `statistics`.
"""
