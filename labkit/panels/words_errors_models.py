"""What stored models and exports find wrong → the same in Chinese.

The marks in the sentences are those of :mod:`labkit.panels.phrases`.
"""

from __future__ import annotations

#: Sentence → the same.
SENTENCES: dict[str, str] = {
    "* holds no head on vectors of width * (2_Dense).": "* 中没有用于宽度为 * 的向量的输出层（2_Dense）。",
    "* pools by *; training pools by one of *: set pooling to one of them. lk.Embedder reads such a folder.": (
        "* 的池化为†；训练可用的池化有 *：请选其中之一。lk.Embedder 可读取这样的文件夹。"
    ),
    "transformers has no *ForSequenceClassification with pooling = *; save_classifier writes such a head as a folder "
    "of sentence-transformers.": (
        "transformers 没有 *ForSequenceClassification 类可用池化 *；save_classifier 会把这样的输出层写成 "
        "sentence-transformers 文件夹。"
    ),
    "the file has no *: it holds no classifier of layout *. Train a head, or give the layout that it was saved with.": (
        "文件中没有†：它不含文件格式 * 的分类层。请训练一个分类层，或使用保存时的文件格式。"
    ),
    "config.json: pad_token_id = *; positions are counted from it: expected a number.": (
        "config.json：pad_token_id = *；位置编码从它数起，应为数值。"
    ),
    "* has no score.weight: it holds no classifier. Train a head.": (
        "* 中没有 score.weight：它不含分类层。请训练一个分类层。"
    ),
    "* is not a list of modules. Fetch or copy the folder again.": "* 不是模块列表。请重新获取或复制该文件夹。",
    "* lists no Transformer followed by Pooling; these make the vectors.": (
        "* 中没有列出 Transformer 及其后的 Pooling；向量由它们产生。"
    ),
    "* has no *. Fetch or copy it again.": "* 中没有†。请重新获取或复制。",
    "*: linear.weight has the shape *; config.json says *.": "*：linear.weight 的形状为 *，而 config.json 写的是 *。",
    "* names *, which is no folder in it. Fetch or copy it again.": (
        "* 指名 *，但其中没有这个文件夹。请重新获取或复制。"
    ),
    "* cannot be read (*). Fetch or copy the folder again.": "无法读取 *（*）。请重新获取或复制该文件夹。",
    "* has the module *; supported, in this order: Transformer, Pooling, Dense, Normalize.": (
        "* 含有模块 *；支持的模块依次为：Transformer、Pooling、Dense、Normalize。"
    ),
    "*: pooling *; supported: *.": "*：池化 *；支持的有：*。",
    "*: use_residual = true; supported: false.": "*：use_residual = true；支持的是 false。",
    "*: * = *; supported: 'sentence_embedding'.": "*：* = *；支持的是 'sentence_embedding'。",
    "the weights in * lack *, which this task reads. Fetch or copy the whole folder, or take weights that have them.": (
        "* 中的权重缺少 *，而此任务要用到。请重新获取或复制整个文件夹，或换用含有它们的权重。"
    ),
    "the model in * lacks *. Copy or export it again.": "* 中的模型缺少 *。请重新复制或导出。",
    "the head of this model has a bias (*), and that of transformers has none for *. Train with family = 'gpt2' and "
    "not more outputs than the width, or subtract the mean from the target. lk.Predictor opens the "
    "run's own model.": (
        "此模型的输出层有偏置（*），而 transformers 中 * 的输出层没有偏置。请用 family = 'gpt2' 训练，且输出个数不超过"
        "宽度；或先从目标中减去平均值。lk.Predictor 可打开该运行自己的模型。"
    ),
    "next_sentence was trained with pooling = *, and transformers has that head on the pooler alone. Train with "
    "pooling = 'cls', or with next_sentence = False.": (
        "下一句预测是以池化 * 训练的，而 transformers 的该输出层只接在 pooler 之后。请用 pooling = 'cls' 训练，或关闭"
        "“下一句预测”。"
    ),
    "* is not empty; give a new folder.": "* 不是空文件夹；请给出新的文件夹。",
    "* of * names no classes: *. Export the model again.": "* 的 * 没有写明类别：*。请重新导出模型。",
    "* claims * parameters or more (*), but the weights beside it hold *. Fetch or copy the folder again.": (
        "* 声明至少有 * 个参数（*），而同一文件夹的权重只有 * 个。请重新获取或复制该文件夹。"
    ),
    "*: * = *; expected a whole number from * to *. Fetch or copy the folder again.": (
        "*：* = *；应为 * 到 * 的整数。请重新获取或复制该文件夹。"
    ),
    "several files in * hold *. Fetch or copy the folder again.": ("* 中有多个文件含有 *。请重新获取或复制该文件夹。"),
    "the weights in * cannot be read: * has the dtype *; supported: *.": (
        "* 中的权重无法读取：* 的数据类型为 *；支持的有：*。"
    ),
    "the weights in * are damaged: * holds *; expected finite values up to *. Fetch, copy or train them again.": (
        "* 中的权重已损坏：* 含有 *；应为不超过 * 的有限值。请重新获取、复制或训练。"
    ),
}
