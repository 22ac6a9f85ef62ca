"""What models, weights, training and judgement find wrong → the same in Chinese.

The marks in the sentences are those of :mod:`labkit.panels.phrases`.
"""

from __future__ import annotations

#: Sentence → the same.
SENTENCES: dict[str, str] = {
    "the run store * cannot be used: *. Check the rights and the free space of its folder, or set LABKIT_FOLDER to "
    "another.": "运行记录 * 无法使用：*。请检查其文件夹的权限与剩余空间，或将 LABKIT_FOLDER 设为其他文件夹。",
    "the run store * is damaged: *. Move this file away, or set LABKIT_FOLDER to another folder; the folders of the "
    "runs stay as they are.": (
        "运行记录 * 已损坏：*。请移走此文件，或将 LABKIT_FOLDER 设为其他文件夹；各次运行的文件夹不受影响。"
    ),
    "* epochs of * steps are * steps; a run has at most *. Take fewer epochs or a larger batch_size.": (
        "* 轮、每轮 * 步共 * 步；一次运行至多 * 步。请减少轮数或增大批大小。"
    ),
    "BertConfig.width = * is not a multiple of heads = *.": "BertConfig：宽度 = * 不是注意力头数 = * 的倍数。",
    "BertConfig.types = 0, but layout * has at least 1 kind of segments.": (
        "BertConfig：段类型数 = 0，但文件格式 * 至少有 1 种段。"
    ),
    "rows of * tokens are longer than max_length = *, the positions this BERT has. Cut the texts to * tokens "
    "when encoding them.": ("每行 * 个词元，超过最大长度 = *，即此 BERT 的位置数。请把“最大长度”设为至多 * 个词元。"),
    "BertConfig.* = *, but layout * always has *: leave * out, or take another layout.": (
        "BertConfig.* = *，但文件格式 * 的此项总是 *：请不要设置 *，或换用其他文件格式。"
    ),
    "* in * differs from *: this head has a table of words of its own. Supported: heads that share the encoder's "
    "(tie_word_embeddings).": (
        "* 中（*）与 * 不同：此输出层有自己的词表。支持的是与编码器共享词表的输出层（tie_word_embeddings）。"
    ),
    "layout * has no head for the next sentence: RoBERTa and DistilBERT were trained without. Set next_sentence "
    "= False, or take layout 'bert'.": (
        "文件格式 * 没有判断下一句的输出层：RoBERTa 与 DistilBERT 训练时没有此任务。请关闭“下一句预测”，或换用文"
        "件格式 bert。"
    ),
    "* holds a model of type *; supported here: *.": "* 中的模型类型为 *；支持的有：*。",
    "* has * positions; supported: 'absolute'.": "* 的位置编码为 *；支持的是 'absolute'。",
    "* holds a decoder (is_decoder or add_cross_attention); supported: encoders.": (
        "* 是解码器（is_decoder 或 add_cross_attention）；支持的是编码器。"
    ),
    "* has activation *; supported: *.": "* 的激活函数为 *；支持的有：*。",
    "*/config.json: *; expected numbers.": "*/config.json：*；应为数值。",
    "*.weight * and *.bias * are no classifier of vectors of width *: expected [c, *] and [c].": (
        "*.weight * 与 *.bias * 不是宽度为 * 的向量的分类层：应为 [c, *] 与 [c]。"
    ),
    "* holds a *, not a table of settings.": "* 的内容是 *，不是一组设置。",
    "* cannot be read (*). Give a folder in the Hugging Face layout.": (
        "无法读取 *（*）。请给出 Hugging Face 目录结构的文件夹。"
    ),
    "CnnConfig.widths = * and dense = * must be at least 1 each, and widths must not be empty.": (
        "CnnConfig：各层宽度 = * 与全连接层 = * 的每个值至少为 1，且宽度不可为空。"
    ),
    "CnnConfig.blocks = * must hold a number for each of the widths *: at least * with halving = *.": (
        "CnnConfig：残差块数 = * 应为各层宽度 * 的每一级给出一个数：至少 *（减半方式 = *）。"
    ),
    "CnnConfig.kernel = * with padding = * changes the size of a picture, but a residual block adds what goes in "
    "to what comes out. Take an odd kernel and padding SAME.": (
        "CnnConfig：卷积核大小 = * 与填充 = * 会改变图像大小，而残差块要把输入与输出相加。请用奇数的卷积核与填充 SAME。"
    ),
    "CnnConfig.widths = * become narrower, but halving = 'pad' can only add channels. Take 'project'.": (
        "CnnConfig：各层宽度 = * 变窄，但减半方式 'pad' 只能增加通道。请用 'project'。"
    ),
    "pictures of * x * pixels are too small for * stages with kernels of * and padding *. Enlarge them, or take "
    "fewer stages.": ("* × * 像素的图像对 * 级、卷积核 *、填充 * 来说太小。请放大图像，或减少级数。"),
    "a picture of * x * pixels is too small for a kernel of * x * without padding. Take larger pictures, or "
    "fewer stages.": ("* × * 像素的图像对无填充的 * × * 卷积核来说太小。请用更大的图像，或减少级数。"),
    "*.input_shape is not known yet. Give that of one example: *.": (
        "*.input_shape 尚未确定。请给出单个样本的形状：*。"
    ),
    "*.input_shape = * is not the shape of one example: *.": "*.input_shape = * 不是单个样本的形状：*。",
    "GptConfig.width = * is not a multiple of heads = *.": "GptConfig：宽度 = * 不是注意力头数 = * 的倍数。",
    "GptConfig.heads = * is not a multiple of kv_heads = *.": "GptConfig：注意力头数 = * 不是键值头数 = * 的倍数。",
    "GptConfig: kv_heads below heads, and tied = false, are for family = 'llama'.": (
        "GptConfig：键值头数少于注意力头数、不共享词表，只适用于家族 'llama'。"
    ),
    "GptConfig: heads of * are odd; rotary positions turn pairs.": (
        "GptConfig：每个头的宽度 * 是奇数；旋转位置需要成对的值。"
    ),
    "rows of * tokens are longer than max_length = *, the positions this GPT has. Cut the texts to * tokens when "
    "encoding them.": ("每行 * 个词元，超过最大长度 = *，即此 GPT 的位置数。请把“最大长度”设为至多 * 个词元。"),
    "*: rope_type = *; supported: 'default'.": "*：rope_type = *；支持的是 'default'。",
    "*: *; expected numbers.": "*：*；应为数值。",
    "*: head_dim = * times the heads is not the width; labkit needs it to be.": (
        "*：head_dim = * 乘以头数不等于宽度；labkit 要求相等。"
    ),
    "*: * = *; supported: *.": "*：* = *；支持的有：*。",
    "lora_targets = * match no linear layer. There are: *.": "LoRA 目标层 = * 与任何线性层都不匹配。现有：*。",
    "lora_rank = * is more than * [*, *] allows; at most *.": "LoRA 秩 = * 超过 * [*, *] 所允许的；最多 *。",
    "MlpConfig.widths = * must all be at least 1.": "MlpConfig：各层宽度 = * 的每个值至少为 1。",
    "a TextCnn cannot read several texts packed in one row: a window would reach from one into the next. Train "
    "it with packing = 'never'.": (
        "文本卷积网络不能读取打包在一行中的多条文本：窗口会跨到下一条。请将“打包”设为 never。"
    ),
    "TransformerConfig.width = * is not a multiple of heads = *.": (
        "TransformerConfig：宽度 = * 不是注意力头数 = * 的倍数。"
    ),
    "* has a * and this model no place for it: set output_bias=True.": (
        "* 含有 *，而此模型没有它的位置：请开启“输出偏置”。"
    ),
    "rows of * tokens are longer than max_length = * of this Transformer. Cut the texts to * tokens when "
    "encoding them, or give it a greater max_length: it costs no parameter.": (
        "每行 * 个词元，超过此 Transformer 的最大长度 = *。请把文本截断为 * 个词元，或增大“最大长度”：这不增加参数。"
    ),
    "* lacks *. Fetch or copy the folder again.": "* 缺少 *。请重新获取或复制此文件夹。",
    "*: activation_function = *; supported: *.": "*：activation_function = *；支持的有：*。",
    "*: * = * and * = *; they must agree.": "*：* = * 而 * = *；两者应当一致。",
    "* holds a model of type *; supported here: 'vgg', with its stages.": (
        "* 中的模型类型为 *；支持的是写明各级的 'vgg'。"
    ),
    "* was trained on pixels = *; supported: *, or none said.": "* 训练时的像素读法为 *；支持的是 *，或未写明。",
    "VggConfig.stages = * must be one to five numbers of at least 1.": (
        "VggConfig：各级卷积数 = * 应为一到五个不小于 1 的数。"
    ),
    "VggConfig.batch_norm: stored convolutions have none; leave batch_norm out, or weights.": (
        "VggConfig：保存的卷积没有批归一化；请关闭“批归一化”，或不用这些权重。"
    ),
    "*: prompts must be a table, and default_prompt_name one of its names.": (
        "*：prompts 应为表，default_prompt_name 应为其中的名称。"
    ),
    "*: do_lower_case = *; expected true or false.": "*：do_lower_case = *；应为 true 或 false。",
    "*: pooling_mode = *; expected a text, or a list of them.": "*：pooling_mode = *；应为文本或文本列表。",
    "*: stages = *; expected a list of one to * numbers.": "*：stages = *；应为一到 * 个数的列表。",
    "*: * = *; expected a whole number from * to *.": "*：* = *；应为 * 到 * 之间的整数。",
    "VggConfig.pixels = 'imagenet' is for grey or coloured pictures, not * channels.": (
        "VggConfig：像素 'imagenet' 适用于灰度或彩色图像，而不是 * 个通道。"
    ),
    "pictures of * x * pixels cannot be halved * times: this VGG needs * x *. Enlarge them, or take fewer stages.": (
        "* × * 像素的图像不能减半 * 次：此 VGG 需要 * × *。请放大图像，或减少级数。"
    ),
    "* holds no model.safetensors; it has: *.": "* 中没有 model.safetensors；其中有：†。",
    "the model in * is damaged: *. Copy or export it again; where you changed the file yourself, remove *.": (
        "* 中的模型已损坏：†。请重新复制或导出；若文件由您自己改动，请删除 *。"
    ),
    "weights *: give the folder that holds config.json and model.safetensors. *": (
        "权重 *：请给出含有 config.json 与 model.safetensors 的文件夹。†"
    ),
    "weights * are neither a sample (*), nor a folder that exists, nor 'org/name@revision'.*": (
        "权重 * 不是示例（*），不是现有的文件夹，也不是“组织/名称@版本”。†"
    ),
    "weights *: there is no such folder, and a name on the hub needs a full revision, 'org/name@' and 40 "
    "hexadecimal digits, so that the same weights are used every time. The model's page on the hub lists them "
    "under 'Files', 'History'.": (
        "权重 *：没有此文件夹；hub 上的名称需要完整的版本，即“组织/名称@”加 40 位十六进制数，以保证每次使用相同的"
        "权重。版本列在 hub 上模型页面的“Files”“History”中。"
    ),
    "* holds * and no model.safetensors. *": "* 中有 *，没有 model.safetensors。†",
    "*@* could not be fetched from the hub (*: *). Check the name, the revision and the connection, or copy the "
    "folder here by other means and give its path as weights.": (
        "无法从 hub 获取 *@*（*：*）。请检查名称、版本与网络，或用其他方式把文件夹复制到此处，并将其路径作为权重。"
    ),
    "* names files that are not in the folder: *. Fetch it again.": "* 所列的文件不在文件夹中：*。请重新获取。",
    "* is damaged or not safetensors (*). Fetch or copy it again.": (
        "* 已损坏或不是 safetensors（*）。请重新获取或复制。"
    ),
    "* is not an index of weights (*). Fetch the folder again.": "* 不是权重的索引（*）。请重新获取此文件夹。",
    "* Fetch or copy it again.": "†请重新获取或复制。",
    "augment = * is for pictures [b, y, x, c]; these examples have *.": (
        "数据增强 = * 用于图像 [b, y, x, c]；这些样本为 *。"
    ),
    "a classifier needs training rows of two classes or more; the rows have *.": (
        "分类需要至少两个类别的训练数据；现有数据为 *。"
    ),
    "no class tells the * training rows apart; rows that have each: *.": (
        "没有一个类别能区分 * 条训练数据；各类别的行数：*。"
    ),
    "whole_words needs a WordPiece vocabulary, where pieces that go on begin with '##'.": (
        "整词掩码需要 WordPiece 词表，其中接续的词元以 '##' 开头。"
    ),
    "pretraining hides words behind a piece of its own, such as [MASK]; the tokenizer has none.": (
        "预训练用专门的词元（如 [MASK]）遮住词；此分词器没有这样的词元。"
    ),
    "a regression needs two training rows or more; there are *.": "回归至少需要两条训练数据；现有 * 条。",
    "* is * in every training row: there is nothing to learn.": "* 在每条训练数据中都是 *：没有可学的内容。",
    "there are no rows of *; there are *.": "没有†的行；现有 *。",
    "checkpoint of step * not saved: *. The checkpoints before it are whole.": (
        "第 * 步的检查点未能保存：†。之前的检查点完好。"
    ),
    "no checkpoint of this run can be used: *. They are in the folder 'quarantine' of its checkpoints. Put a sound one "
    "back, or resume again to train from step 0.": (
        "此运行没有可用的检查点：†。它们在检查点文件夹的 'quarantine' 中。请放回完好的检查点，或再次继续，"
        "从第 0 步训练。"
    ),
    "the folder of run * holds the model of run *. Put its own model back, or train it again.": (
        "运行 * 的文件夹中是运行 * 的模型。请放回其自己的模型，或重新训练。"
    ),
    "the checkpoint of step * cannot be used. *.": "第 * 步的检查点无法使用。†。",
    "the checkpoint of step * cannot be restored: *": "第 * 步的检查点无法恢复：*",
    "* is a link, to *. Put the folder itself in its place; for a larger disk, move the whole lab folder there and set "
    "LABKIT_FOLDER.": (
        "* 是指向 * 的链接。请换成文件夹本身；若需要更大的磁盘，请把整个实验文件夹移到那里，并设置 LABKIT_FOLDER。"
    ),
    "* cannot be used: *. It cannot be moved to * either: *.": "* 无法使用：†。也无法移到 *：†。",
    "A checkpoint belongs to the settings it was made with; begin a new run for others.": (
        "检查点属于其创建时的设置；其他设置请新建运行。"
    ),
    "run * is being worked on already*. Watch it with `lk.open_run(*)`.": (
        "运行 * 正在进行中†。可用 `lk.open_run(*)` 查看。"
    ),
    "not even one example fits into *. Take a smaller model, shorter texts, or a device with more memory.": (
        "* 连一个样本也放不下。请换用更小的模型、更短的文本，或内存更大的设备。"
    ),
    "these rows hold *; * learns from *.": "这些数据是†；* 从†中学习。",
    "* cannot learn *. Architectures that can: *.": "* 不能学习 *。可以学习的架构：*。",
    "these rows hold *; * reads *. Architectures for *: *.": "这些数据是†；* 读取的是†。适合†的架构：†。",
    "[*] needs a name, one of *; it is *.": "[*] 需要名称，可选 *；现为 *。",
    "data.source is empty: these rows were made in Python and cannot be loaded again.": (
        "data.source 为空：这些数据是用 Python 创建的，无法重新加载。"
    ),
    "* is known of each of these rows; * learns *. The task for them is *.": (
        "每行数据已知的是†；* 学习的是†。适合它们的任务是 *。"
    ),
    'the experiment names no model: add a table [model] with name = "bert".': (
        '实验没有指定模型：请添加表 [model]，其中 name = "bert"。'
    ),
    "data.steps: * has no `do` that is known.* Known: *.": "data.steps：* 没有已知的 `do`。†可用的有：*。",
    "data.steps: *: *.": "data.steps 中的步骤 *：*。",
    "batch_size = * cannot be divided into * parts (devices times accumulate); * can.": (
        "批大小 = * 不能分为 * 份（设备数乘以梯度累积）；可以用 *。"
    ),
    "the tokenizer has * pieces, the model only *.": "分词器有 * 个词元，模型只有 * 个。",
    "max_length = * is longer than the model's * positions.": "最大长度 = * 超过模型的 * 个位置。",
    "examples have the shape *; those of the training rows *.": "样本的形状为 *；训练数据的为 *。",
    "input_shape = *, but an example has the shape *.": "输入形状 = *，但样本的形状为 *。",
    "examples of the shape *, *; the model reads *.": "样本的形状为 *（*）；模型需要 *。",
    'questions need paragraphs: lk.load(..., text=("question", "context"), label=False).': (
        "问答需要段落：请在“文本列”中选择问题，在“第二文本列”中选择段落，标签列选“无标签”（代码中：lk.load(..., "
        'text=("question", "context"), label=False)）。'
    ),
    "packing = 'always': * cannot read several texts in one row.": "打包 = 'always'：* 不能在一行中读取多条文本。",
    "* They had the rows *; *. Lower the learning rate (it was *) and begin again, or look at these rows.": (
        "†涉及的行为 *；†。请降低学习率（原为 *）后重新开始，或查看这些行。"
    ),
    "devices = *, but JAX sees * (*).": "设备数 = *，但 JAX 只有 * 个（*）。",
    "model_parallel = * does not divide the * devices.": "模型并行 = * 不能整除 * 个设备。",
    "Optimizer: every parameter is frozen; nothing is left to train.": "优化器：所有参数都已冻结；没有可训练的内容。",
    "Optimizer.freeze: * matches no parameter. They are: *.": "冻结参数：* 与任何参数都不匹配。现有：*。",
    "learning_rate = *; it must be a number from 0 to * (float32).": "学习率 = *；应为 0 至 *（float32）之间的数。",
    "keep = *; it must be 'best' or 'last'.": "保留 = *；应为 'best' 或 'last'。",
    "run * is *: it takes no *.*": "运行 * 的状态为†：不接受 *。†",
    "run * is *; it cannot be started.": "运行 * 的状态为†；无法启动。",
    "run * is being worked on by a process that holds its lock.": "运行 * 正由一个持有其锁的进程处理。",
    "run * of * cannot be read: its row in the run store is damaged.": (
        "无法读取运行 *（在 * 中）：运行库中的记录已损坏。"
    ),
    "run * could not write how it ended: * *": "运行 * 未能写入其结束状态：* †",
    "this run began with batches in * part(s), which * devices cannot share: set devices = 0 to take it up on as "
    "many as can.": ("此运行开始时每批分为 * 份，* 个设备无法均分：请将“设备数”设为 0，使用尽可能多的设备。"),
    "there are no rows of *; the rows have *.": "没有†的行；现有 *。",
    "no run * in *.* `labkit runs` lists them.": "没有运行 *（在 * 中）。†可用 `labkit runs` 列出所有运行。",
    "no run * in *.": "没有运行 *（在 * 中）。",
    "there is a run * already in *.": "已有运行 *（在 * 中）。",
    "* tells *; * *.": "* 区分 *；而 * 区分 *。",
    "* and * were judged on no row in common: split their rows with the same seed.": (
        "* 与 * 没有共同评判过的行：请用相同的随机种子划分数据。"
    ),
    "row * is * for * and * for *: these are other data.": "第 * 行的标签为 *（*）而又为 *（*）：两者的数据不同。",
    "* has no table of words that labkit knows.": "* 没有 labkit 认识的词嵌入表。",
    "this model has no attention maps; BERT, RoBERTa and DistilBERT have.": (
        "此模型没有注意力图；BERT、RoBERTa 与 DistilBERT 才有。"
    ),
    "there is no class *.*": "没有类别 *。†",
    "this model reads texts; the example is a *.": "此模型读取文本；而样本是 *。",
    "* of * rows of probability are not distributions; the first, row *, is *. Pass softmax(logits); NaN means "
    "that training diverged.": (
        "有 * 行（共 * 行）的概率不是分布；第一个是第 * 行，为 *。应为 softmax(logits)；NaN 表示训练已发散。"
    ),
    "* was judged on other rows or classes (* rows of *) than this report (* rows of *): judge both on the same "
    "split, with the same `seen`.": (
        "* 所评判的行或类别（* 行，属†）与本报告（* 行，属†）不同：请用相同的 `seen` 评判同一子集。"
    ),
    "* of * answers are not finite: the training diverged.": "* 个回答（共 * 个）不是有限的数值：训练已发散。",
    "* was judged on other rows than this report: judge both on the same split.": (
        "* 所评判的行与本报告不同：请评判同一子集。"
    ),
    "run * is * and has no model yet. `run.wait()` waits for it.": (
        "运行 * 的状态为†，尚无模型。`run.wait()` 可等待其完成。"
    ),
    "the run has no rows of *; it has *.": "此运行没有 * 的行；现有 *。",
    "run * does not tell one of several classes; run.evaluate() judges what it tells.": (
        "运行 * 不区分多个类别；`run.evaluate()` 可评判其结果。"
    ),
    "*-grams need * tokens or more; there are *.": "* 元模型至少需要 * 个词元；现有 * 个。",
    "* learned from * and * from *: other rows.": "* 的训练数据为 *，而 * 的为 *：数据不同。",
    "the rows have no column *.* They have *.": "数据没有列 *。†现有列：*。",
    "* holds no labkit.toml; give a folder made by run.export(folder).": (
        "* 中没有 labkit.toml；请给出由 run.export(folder) 创建的文件夹。"
    ),
    "nothing is hidden in *: write * where a word is to be told.": "* 中没有遮盖：请在需要预测之处写 *。",
    "a row of * tokens is longer than the * that this model reads.": "共 * 个词元，超过此模型可读取的 * 个。",
    "a prompt of * tokens and * new ones are more than the * positions of this model. Shorten the prompt, or set "
    "max_new_tokens.": "* 个词元的文本与 * 个新词元超过此模型的 * 个位置。请缩短文本，或减小“最多词元数”。",
    "beams = * search for the likeliest text; set temperature = 0 for that.": (
        "束宽 = * 会搜索最可能的文本；为此请将温度设为 0。"
    ),
    "* * is missing.": "†第 * 项缺失。",
    "* * is blank.": "†第 * 项为空白。",
    "* * is *, a *; a text is needed.": "†第 * 项为 *（类型 *）；需要文本。",
    "give a question and a paragraph that holds its answer.": "请填写问题，以及含有其答案的段落。",
    "these are * texts: give 2 to *, each on a line of its own.": "现有 * 个文本：请给出 2 到 * 个，每行一个。",
    "* has learnt * and tells no classes; it cannot predict. Use *.": (
        "* 学习的任务是 *，不给出类别；无法预测。请改用 *。"
    ),
    "predict takes a list of examples, an array or a table, not a *.": "predict 接受样本列表、数组或表，而不是 *。",
    "this model reads *; it has no use for second texts.": "此模型读取†；用不到第二个文本。",
    "this model reads two texts (*), and only one is given: predict([first], [second]), or --pair.": (
        "此模型读取两个文本（*），而只给出了一个：`predict([first], [second])` 或 `--pair`。"
    ),
    "this model reads one text (*), and two are given: leave the second out.": (
        "此模型读取一个文本（*），而给出了两个：请去掉第二个。"
    ),
    "this model reads texts, not arrays.": "此模型读取文本，而不是数组。",
    "a table brings its second texts in a column; leave the other list out.": (
        "表的第二个文本在其一列中；请去掉另一个列表。"
    ),
    "this model reads columns of features by their names; leave --column and --pair out.": (
        "此模型按列名读取特征；请去掉 `--column` 与 `--pair`。"
    ),
    "the examples are no numbers of one shape; the model reads *.": "样本不是同一形状的数值；模型需要 *。",
    "* cannot be read: *; the model reads sounds: files, or arrays.": "无法读取 *：†；此模型读取声音：文件或数组。",
    "the pictures have several shapes; the model reads *.": "图片的形状不一；模型需要 *。",
    "* is *. Only safetensors is opened, since the other formats can run code. Where you trust the file, rewrite "
    "it with `AutoModel.from_pretrained(folder).save_pretrained(new_folder, safe_serialization=True)` of "
    "transformers.": (
        "* 是 †。只打开 safetensors，因为其他格式可能运行代码。若您信任此文件，请用 transformers 的 "
        "`AutoModel.from_pretrained(folder).save_pretrained(new_folder, safe_serialization=True)` 改写。"
    ),
    "Only safetensors is opened, since the other formats can run code. Where you trust the file, rewrite it with "
    "`AutoModel.from_pretrained(folder).save_pretrained(new_folder, safe_serialization=True)` of transformers.": (
        "只打开 safetensors，因为其他格式可能运行代码。若您信任此文件，请用 transformers 的 "
        "`AutoModel.from_pretrained(folder).save_pretrained(new_folder, safe_serialization=True)` 改写。"
    ),
    "the weights in * do not fit the model:": "* 中的权重与模型不符：",
    "* missing in the file:": "文件中缺少 * 项：",
    "* unexpected in the file:": "文件中多出 * 项：",
    "* of another shape or dtype:": "形状或类型不同的有 * 项：",
    "* of another shape:": "形状不同的有 * 项：",
    "* of another dtype:": "类型不同的有 * 项：",
    "  … and * more": "  ……另有 * 项",
    "Nothing was changed. Give the model the sizes of these weights (leave the sizes out to take them from the "
    "folder's config.json), or other weights.": (
        "未作任何改动。请使模型的尺寸与这些权重一致（不填尺寸时取自文件夹的 config.json），或换用其他权重。"
    ),
    "the gradient was not finite in * steps in a row, the last of them step *.": (
        "梯度连续 * 步不是有限的数值，最后为第 * 步。"
    ),
    "the checkpoint of step * does not fit this run:": "第 * 步的检查点与此运行不符：",
    "  *: saved *, asked *": "  *：保存的为 *，需要的为 *",
    "no step for * s; the stacks are in *.*": "* 秒没有进展；各线程的调用栈在 *。†",
    "the process was killed by *, its memory * GB at most.*": "进程被 * 终止，最多占用内存 * GB。†",
    "the process was killed by *.*": "进程被 * 终止。†",
    "the process ended with code *, its memory * GB at most: *.*": "进程以代码 * 结束，最多占用内存 * GB：*。†",
    "the process ended with code *, its memory * GB at most.*": "进程以代码 * 结束，最多占用内存 * GB。†",
    "the process ended with code *: *.*": "进程以代码 * 结束：*。†",
    " It was begun again * times without getting further.": " 已重新开始 * 次，仍无进展。",
}
