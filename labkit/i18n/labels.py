"""The names of settings and splits, as forms, tables and errors show them."""

from __future__ import annotations

from labkit.i18n.message import Message, _, pgettext

#: Setting → name.
LABELS: dict[str, Message] = {
    # models
    "preset": _("Preset"),
    "weights": _("Weights"),
    "family": _("Family"),
    "vocab_size": _("Vocabulary size"),
    "width": _("Width"),
    "depth": _("Layers"),
    "encoder_depth": _("Encoder depth"),
    "decoder_depth": _("Decoder depth"),
    "heads": _("Attention heads"),
    "kv_heads": _("Key-value heads"),
    "head_dim": _("Head dimension"),
    "mlp_width": _("Feed-forward width"),
    "max_length": _("Maximum length"),
    "types": _("Segment types"),
    "dropout": _("Dropout"),
    "attention_dropout": _("Attention dropout"),
    "norm_eps": _("Norm epsilon"),
    "activation": _("Activation"),
    "pooling": _("Pooling"),
    "layout": _("File format"),
    "dtype": pgettext("setting", "Precision"),
    "unroll": _("Unrolled layers"),
    "remat": _("Gradient checkpointing"),
    "window": _("Local attention window"),
    "global_every": _("Layers per global layer"),
    "rope_base": _("RoPE base"),
    "local_rope_base": _("RoPE base of local attention"),
    "rope_scaling": _("RoPE scaling"),
    "tied": _("Tied embeddings"),
    "norm_first": _("Pre-norm"),
    "output_bias": _("Output bias"),
    "embedding": _("Embedding width"),
    "filters": _("Filters"),
    "kernel": _("Kernel size"),
    "pool": _("Pool size"),
    "widths": _("Layer widths"),
    "blocks": _("Residual blocks"),
    "dense": _("Dense layers"),
    "padding": _("Padding"),
    "norm": _("Normalisation"),
    "stem": _("Stem"),
    "halving": _("Downsampling"),
    "stages": _("Convolutions per stage"),
    "base_width": _("Base width"),
    "head_width": _("Dense layer width"),
    "batch_norm": _("Batch norm"),
    "pixels": _("Pixel scaling"),
    "input_shape": _("Input shape"),
    # tasks
    "class_weights": _("Class weights"),
    "label_smoothing": _("Label smoothing"),
    "label_share": _("Share of labels"),
    "augment": _("Augmentation"),
    "mixup": _("Mixup"),
    "head_dropout": _("Head dropout"),
    "vocabulary": _("Trained vocabulary size"),
    "tokenizer": _("Tokenizer"),
    "stride": _("Stride"),
    "longest_answer": _("Maximum answer length"),
    "temperature": _("Temperature"),
    "mask_probability": _("Mask probability"),
    "whole_words": _("Whole-word masking"),
    "next_sentence": _("Next-sentence prediction"),
    "threshold": _("Threshold"),
    "loss": _("Loss"),
    # training
    "epochs": pgettext("setting", "Epochs"),
    "batch_size": _("Batch size"),
    "packing": _("Packing"),
    "buckets": _("Buckets"),
    "accumulate": _("Gradient accumulation"),
    "devices": _("Devices"),
    "model_parallel": _("Tensor parallelism"),
    "sharded": _("Fully sharded (FSDP)"),
    "evaluate_every": _("Evaluate every"),
    "metric": _("Select best by"),
    "keep": _("Checkpoint used"),
    "patience": _("Patience"),
    "save_minutes": _("Save every (minutes)"),
    "on_checkpoint_failure": _("If saving fails"),
    "watchdog": _("Watchdog (seconds)"),
    "seed": _("Seed"),
    "privacy": _("Differential privacy"),
    "delta": _("Delta"),
    "noise_seed": _("Noise seed"),
    # optimizer
    "learning_rate": _("Learning rate"),
    "schedule": _("Schedule"),
    "warmup": _("Warm-up"),
    "decay": _("Decay fraction"),
    "algorithm": _("Optimizer"),
    "weight_decay": _("Weight decay"),
    "clip": _("Gradient clipping"),
    "momentum": _("Momentum"),
    "beta1": _("Beta 1"),
    "beta2": _("Beta 2"),
    "epsilon": _("Epsilon"),
    "ema": _("Weight averaging (EMA)"),
    "trainable": _("Trainable parameters"),
    "lora_rank": _("LoRA rank"),
    "lora_alpha": _("LoRA alpha"),
    "lora_ratio": _("LoRA+ ratio"),
    "lora_targets": _("LoRA targets"),
    "layer_decay": _("Layer-wise rate decay"),
    "unfreeze": _("Gradual unfreezing"),
    "freeze": _("Frozen parameters"),
    "freeze_layers": _("Frozen layers"),
}
SPLITS: dict[str, Message] = {
    "train": pgettext("split", "train"),
    "validation": pgettext("split", "validation"),
    "test": _("test"),
}


def setting(place: str) -> str:
    """``place``, such as "Training.epochs", which other languages show with the setting's name."""
    name = place.rpartition(".")[2]
    if name == place or name not in LABELS:
        return place
    return Message(_("{label} ({place})"), {"label": LABELS[name], "place": place}, text=place)


def split_name(name: str) -> str:
    """The name of a split; of the usual three it is translated."""
    return SPLITS.get(name, name)


def score_name(metric: str) -> str:
    """A metric as people write it."""
    return {"f1": "F1", "r2": "R²", "loss": _("loss"), "mae": _("mean absolute error")}.get(metric, metric)
