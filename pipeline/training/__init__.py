"""Training of the head (attention, comparator) and of the whitening on a user's own videos.

Self-supervised as in Kordopatis-Zilos et al., "Self-supervised video similarity learning" (S2VS,
CVPRW 2023, arXiv 2304.03378): copies of clips are made on the fly and told from all other clips.
The backbone is frozen, so its features are computed once (`cache`). Neither stage imports this.
"""
