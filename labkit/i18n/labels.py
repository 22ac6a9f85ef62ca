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
    "encoder_depth": _("Layers of the encoder"),
    "decoder_depth": _("Layers of the decoder"),
    "heads": _("Attention heads"),
    "kv_heads": _("Heads of keys"),
    "mlp_width": _("Feed-forward width"),
    "max_length": _("Longest text"),
    "types": _("Segment types"),
    "dropout": _("Dropout"),
    "attention_dropout": _("Attention dropout"),
    "norm_eps": _("Norm epsilon"),
    "activation": _("Activation"),
    "pooling": _("Pooling"),
    "layout": _("Layout"),
    "dtype": pgettext("setting", "Precision"),
    "unroll": _("Unrolled layers"),
    "remat": _("Recompute"),
    "rope_base": _("Rotary base"),
    "tied": _("Tied tables"),
    "norm_first": _("Norm first"),
    "output_bias": _("Output bias"),
    "embedding": _("Embedding width"),
    "filters": _("Filters"),
    "kernel": _("Kernel"),
    "pool": _("Pool"),
    "widths": _("Widths"),
    "blocks": _("Residual blocks"),
    "dense": _("Dense layers"),
    "padding": _("Padding"),
    "norm": _("Normalisation"),
    "stem": _("Stem"),
    "halving": _("Halving"),
    "stages": _("Stages"),
    "base_width": _("Base width"),
    "head_width": _("Dense width"),
    "batch_norm": _("Batch norm"),
    "pixels": _("Pixels"),
    "input_shape": _("Input shape"),
    # tasks
    "class_weights": _("Class weights"),
    "label_smoothing": _("Label smoothing"),
    "augment": _("Augmentation"),
    "mixup": _("Mixup"),
    "head_dropout": _("Head dropout"),
    "vocabulary": _("Pieces to learn"),
    "tokenizer": _("Kind of pieces"),
    "stride": _("Stride"),
    "longest_answer": _("Longest answer"),
    "temperature": _("Temperature"),
    "chosen": _("Masked share"),
    "whole_words": _("Whole words"),
    "next_sentence": _("Next sentence"),
    "threshold": _("Threshold"),
    "loss": _("Loss"),
    # training
    "epochs": pgettext("setting", "Epochs"),
    "batch_size": _("Batch size"),
    "packing": _("Packing"),
    "buckets": _("Buckets"),
    "accumulate": _("Parts of a step"),
    "devices": _("Devices"),
    "model_parallel": _("Model parallel"),
    "sharded": _("Sharded"),
    "evaluate_every": _("Evaluate every"),
    "metric": _("Best by"),
    "keep": _("Keep"),
    "patience": _("Patience"),
    "save_minutes": _("Save every (minutes)"),
    "unsaved": _("If it cannot save"),
    "watchdog": _("Watchdog (seconds)"),
    "seed": _("Seed"),
    # optimizer
    "learning_rate": _("Learning rate"),
    "schedule": _("Schedule"),
    "warmup": _("Warm-up"),
    "decay": _("Decay part"),
    "rule": _("Optimizer"),
    "weight_decay": _("Weight decay"),
    "clip": _("Gradient clipping"),
    "momentum": _("Momentum"),
    "beta1": _("Beta 1"),
    "beta2": _("Beta 2"),
    "epsilon": _("Epsilon"),
    "ema": _("Weight average"),
    "tune": _("What is trained"),
    "lora_rank": _("LoRA rank"),
    "lora_alpha": _("LoRA alpha"),
    "lora_ratio": _("LoRA+ ratio"),
    "lora_targets": _("LoRA targets"),
    "layer_decay": _("Layer decay"),
    "unfreeze": _("Gradual unfreezing"),
    "freeze": _("Frozen"),
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
