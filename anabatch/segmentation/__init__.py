"""Segmentation: a field's signal to label images of nuclei and cells.

`models` finds weights, `cellpose` runs a network and its dynamics, `tiling` takes images through it in
batches of one shape, `recipe` holds the study's five steps, `two_pass` puts them together. `watershed` does without networks;
`protocol` says what both are, and `conformance` whether they are.
"""
