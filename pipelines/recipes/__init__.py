"""Training scripts as people have them, in short, with mixing: changed lines are marked.

Each runs alone, for example ``python -m dali_msda.pipelines.recipes.timm_train imagenet``, on a
folder with ``train/``, of class folders. Lines that end in ``# changed`` are all that mixing takes.
"""
