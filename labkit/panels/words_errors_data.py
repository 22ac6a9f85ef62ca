"""What the floor of data finds wrong → the same in Chinese.

The marks in the sentences are those of :mod:`labkit.panels.phrases`.
"""

from __future__ import annotations

#: Sentence → the same.
SENTENCES: dict[str, str] = {
    'labels are missing in column *: *. Pass missing="drop" to leave these rows out, or missing="keep" to keep '
    "them as unlabelled.": ("标签列 * 中缺少标签：†。请将“缺少标签”设为“丢弃”，或设为“保留为无标签”。"),
    "column * holds *, not text. Pass text=… with a column of texts.": (
        "* 列的内容是 *，不是文本。请在“文本列”中选择含文本的列。"
    ),
    "0 rows are left in *. Refused: *. Choose other splits with split=… if this one is not needed.": (
        "†中没有剩余的行。已排除：†。若不需要此子集，请从数据中去掉，或在代码中用 split=… 选择其他子集。"
    ),
    "column * holds *, not numbers.": "* 列的内容是 *，不是数值。",
    "column * has * missing values. Drop these rows.": "* 列缺少 * 个数值。请删去这些行。",
    "feature * has no finite value in the training rows. Drop the column.": (
        "特征 * 在训练数据中没有有限的数值。请删去此列。"
    ),
    "column * has * missing examples or lines. Drop these rows.": "* 列缺少 * 个样本或行。请删去这些行。",
    "column * holds lists of * to * values; all must be of one shape.": "* 列的列表有 * 到 * 个值；应为同一形状。",
    "pictures have two or three axes; those of * have *.": "图像应有两个或三个轴；* 中的有 * 个。",
    "column * holds examples of several shapes: * and *.": "* 列的样本形状不一：* 与 *。",
    "cleaning leaves no text in any row of *; look at `pipeline.preview(rows)`.": (
        "清洗后 * 的所有行都没有文本；请在“预处理”中少选一些步骤。"
    ),
    "cleaning needs texts; * has the columns *.": "清洗需要文本；* 的列为 *。",
    "no cleaning step *.* Known: *.": "没有清洗步骤 *。†可用的有：*。",
    "the cleaning step * is named twice; name it once.": "清洗步骤 * 出现了两次；只需一次。",
    "several columns could be the *: *. Pass *=***.": "有多列可能是†：*。请在面板中选择一列（代码中：*=**†）。",
    "no column holds texts; the columns are *. Pass text=….": (
        "没有含文本的列；现有列为 *。请在“文本列”中选择，或勾选“用数值与类别列，而非文本”。"
    ),
    "give text = * or features = *: an example is one or other.": (
        "文本 = * 与特征 = * 只能给出一种：样本是文本，或是数值与类别。"
    ),
    "* has no column *.* It has: *.": "†没有列 *。†可用的有：*。",
    "text = * must name one column, or two different ones for pairs of texts.": (
        "文本 = * 应为一列，或为文本对选择两个不同的列。"
    ),
    "column * cannot be both the text and the label.": "* 列不能既是文本又是标签。",
    "a language model needs running text; * rows hold * tokens.": "语言模型需要连续的文本；* 行共有 * 个词元。",
    "max_length = * leaves no room for two passages; at least 8.": "最大长度 = * 放不下两段文本；至少为 8。",
    "next-sentence prediction needs four passages of * tokens or more; there are *.": (
        "下一句预测至少需要四段各 * 个词元的文本；现有 * 段。"
    ),
    "* has 0 rows: there is nothing after its header.": "* 有 0 行：表头之后没有内容。",
    "* could be separated by *: pass delimiter=* or *.": (
        "* 的分隔符可能是 *：请只用一种分隔符，或在代码中给出 delimiter=* 或 *。"
    ),
    "* has 0 rows: it is empty.": "* 有 0 行：文件为空。",
    "* has several columns called *: rename them.": "* 有多列名为 *：请改名。",
    "*: a quote opened in the record of line * is never closed, so that all after it would be one field*. Mend "
    "that line, or pass quotes=False if quotes are plain text in this file.": (
        "*：第 * 行的记录中有引号没有结束，其后的内容都会成为一个字段†。请修正此行；若引号只是普通文字，请在代码中"
        "给出 quotes=False。"
    ),
    "the header of * cannot be read (*). Has it an odd quote?": "无法读取 * 的表头（*）。是否有不成对的引号？",
    "* has one column, *, and its name holds *: pass delimiter=*, or take the quotes around whole lines away.": (
        "* 只有一列 *，而列名中含有 *：请去掉整行两侧的引号，或在代码中给出 delimiter=*。"
    ),
    '* is not text in any known encoding; if it is, pass encoding="…".': (
        '* 不是任何已知编码的文本；请另存为 UTF-8，或在代码中给出 encoding="…"。'
    ),
    "no row of * would be left: each repeats another row, or its copies disagree.": (
        "* 中不会剩下任何行：每行都与其他行重复，或重复行的标签不一致。"
    ),
    "near duplicates are found by text, and these rows have no texts.": "近似重复按文本查找，而这些数据没有文本。",
    "the folder * holds *. Give it a file for each split (train.csv, validation.csv, test.csv; or .tsv, .jsonl, "
    ".parquet, .xlsx) or a folder of files for each class (pos/, neg/): texts (.txt), pictures (.png, .jpg …) or "
    "sounds (.wav).": (
        "文件夹 * 含有：†。请为每个子集放一个文件（train.csv、validation.csv、test.csv；或 .tsv、.jsonl、.parquet、"
        ".xlsx），或为每个类别放一个文件夹（pos/、neg/）：文本（.txt）、图片（.png、.jpg 等）或声音（.wav）。"
    ),
    "* is *, a format that can run code when it is opened or is no table; labkit never opens it. Save the table "
    "as Parquet or CSV where it was made.": (
        "* 是 †，这种格式打开时可能运行代码，或不是表格；labkit 从不打开它。请在原处另存为 Parquet 或 CSV。"
    ),
    "* is of no kind that labkit reads (*).*": "* 的类型 labkit 无法读取（*）。†",
    "* is *, not what its name says; unpack it, or give it the right name.": (
        "* 是 †，与文件名不符；请解压，或改为正确的文件名。"
    ),
    "* has 0 rows.": "* 有 0 行。",
    "* is no whole Parquet file: *.": "* 不是完整的 Parquet 文件：*。",
    "* and * are both the split *: move one away.": "* 与 * 都是子集 *：请移走其一。",
    "* has no column *, which * has.": "* 没有列 *，而 * 有。",
    "column * is * in * and * in *, which do not go together.": "* 列的类型为 *（* 中）与 *（* 中），两者不能合并。",
    "* cannot be read: *.": "无法读取 *：†。",
    "the source of rows must be a table of settings, in which source is a text.": (
        "数据的来源（source）必须是一组设置，其中 source 为文本。"
    ),
    "data.steps must be a list of tables, such as {do = 'split', test = 0.2}.": (
        "data.steps 必须是由表组成的列表，例如 {do = 'split', test = 0.2}。"
    ),
    "*: * must be a text, a finite number, true or false, or a list of these.": (
        "*：* 必须是文本、有限的数、true 或 false，或由它们组成的列表。"
    ),
    "* has no sheet *.* It has: *.": "* 没有工作表 *。†现有：*。",
    "* is an Excel file, which needs openpyxl: pip install 'labkit[excel]'. Or save it as CSV.": (
        "* 是 Excel 文件，读取需要 openpyxl：pip install 'labkit[excel]'。或另存为 CSV。"
    ),
    "* unpacks to * bytes, more than *. Save it as CSV.": "* 解压后有 * 字节，超过 *。请另存为 CSV。",
    "* is no whole Excel file (*).": "* 不是完整的 Excel 文件（*）。",
    "* is a JSON object of objects, in which neither level is an index 0, 1, 2 …. Save the "
    'table with orient="records".': (
        '* 是由对象组成的 JSON 对象，且没有一层以 0、1、2 …… 为键。请用 orient="records" 保存表格。'
    ),
    "* holds several tables: *. Save each to a file of its own.": "* 中有多个表格：*。请各存为一个文件。",
    "* is no whole JSON: *.": "* 不是完整的 JSON：*。",
    "* holds columns of different lengths: *.": "* 中各列长度不同：*。",
    "* holds * files (*); unpack it and give the folder's path.": "* 中有 * 个文件（†）；请解压并给出文件夹路径。",
    "* is no whole ZIP archive: *.": "* 不是完整的 ZIP 压缩包：*。",
    "* is damaged or not what its name says: *.": "* 已损坏或与文件名不符：*。",
    "* cannot be unpacked: the disk has too little room for it.": "无法解压 *：磁盘空间不足。",
    "* is a folder of pictures or sounds, not a table.": "* 是图像或声音的文件夹，不是表格。",
    "column * holds names of files, and no other column holds texts. Load the folder that has the files and the table "
    "in it, or name the column with text=….": (
        "* 列是文件名，且没有其他含文本的列。请载入含有这些文件与此表格的文件夹，或在“文本列”中选择此列。"
    ),
    "column * has * different values in * rows: classification needs few classes, each with many rows. Name "
    "another column with label=…, or list the classes with classes=(…). A number to predict is named by number=* "
    "instead.": (
        "* 列有 * 个不同的值（共 * 行）：分类需要少数几个类别，每个类别有多行。请在“标签列”中选择另一列；若要预测"
        "数值，请将“学习目标”设为“一个数值”（代码中：number=*）。"
    ),
    "column * holds *, which is no label: one class for each row is needed.": (
        "* 列的内容是 *，不能作标签：每行需要一个类别。"
    ),
    "the splits name the classes of * differently: pass classes=(…).": (
        "各子集的 * 对类别的命名不同：请统一，或在代码中给出 classes=(…)。"
    ),
    "column * holds labels that are not valid UTF-8.": "* 列的标签不是有效的 UTF-8。",
    "the folder holds pictures and sounds; give each kind a folder of its own.": (
        "文件夹中既有图片又有声音；请各放一个文件夹。"
    ),
    "none of the * files can be read; the first is *.": "* 个文件都无法读取；第一个是 *。",
    "picture above * million pixels": "图片超过 * 百万像素",
    "no whole picture (*)": "不是完整的图片（*）",
    'the rows have no labels: name the column of the label, lk.load(..., label="...").': (
        '数据没有标签：请在“数据”步骤的“标签列”中选择（代码中：lk.load(..., label="...")）。'
    ),
    "no training row has a target in *.": "* 中没有带目标值的训练数据。",
    "a classifier needs training rows of two classes or more; these have *: *.": (
        "分类需要至少两个类别的训练数据；现有 * 个：*。"
    ),
    "* holds something other than saved rows: give a new folder.": "* 中有不是已保存数据的内容：请换一个新文件夹。",
    "there is no split *.* There are: *.": "没有子集 *。†现有：*。",
    "split * lacks the columns *.": "子集 * 缺少列 *。",
    "split * has the label *; there are * classes.": "子集 * 含标签 *；共有 * 个类别。",
    "* holds no whole saved rows: *. Save them again.": "* 不是完整的已保存数据：*。请重新保存。",
    "* is a model, not data. Data samples: *.": "* 是模型而不是数据。示例数据有：*。",
    "sound without samples": "声音没有采样",
    "sound with samples of the type *: give int16, or numbers from -1 to 1": (
        "声音采样的类型为 *：请给出 int16，或 -1 到 1 之间的数值"
    ),
    "sound with samples up to *; numbers with a fraction lie between -1 and 1": (
        "声音采样的最大值为 *；带小数的采样应在 -1 到 1 之间"
    ),
    "sound in *, not PCM: save it as PCM, 16 bits": "声音编码为 *，不是 PCM：请另存为 16 位 PCM",
    "sound with samples that are not finite": "声音中有不是有限数值的采样",
    "no whole WAV file (*)": "不是完整的 WAV 文件（*）",
    "there is no file or folder *.*": "没有文件或文件夹 *。†",
    "there are several splits: *. Pass split=… with one of them.": ("有多个子集：*。请用 split=… 指定其中一个。"),
    "load has no use for * with *; leave it out.": "用不到 *（†）；请去掉。",
    "the frame has 0 rows.": "数据框有 0 行。",
    "the data set has 0 rows.": "数据集有 0 行。",
    '* on the hub can change: pin it, lk.load(*, revision="…") with the commit shown there under Files. (It is '
    "no file or folder here, and no sample.)": (
        'hub 上的 * 可能会变：请填写固定的版本，即 组织/名称@版本（代码中：lk.load(*, revision="…")），版本为该页'
        "面 Files 中显示的提交。（此处没有这个文件或文件夹，也没有此示例。）"
    ),
    "LABKIT_OFFLINE forbids the network, so * cannot be fetched from the hub.": (
        "LABKIT_OFFLINE 禁止使用网络，因此无法从 hub 获取 *。"
    ),
    "there is one table, not the splits *: split= can give it one name.": (
        "只有一个表，没有子集 *：split= 可为它命名。"
    ),
    "two splits of * go by one name.": "* 中有两个子集同名。",
    "the hub data set * at revision * could not be loaded: * Check the name, the revision, subset=… and the "
    "network (HF_HUB_OFFLINE).": (
        "无法加载 hub 数据集 *（版本 *）：* 请检查名称、版本、subset=… 与网络（HF_HUB_OFFLINE）。"
    ),
    "* questions but * paragraphs.": "有 * 个问题，但有 * 个段落。",
    "max_length = * has no room for stride = * tokens that windows share: it must be below *.": (
        "最大长度 = * 容不下窗口共享的步长 = * 个词元：步长应小于 *。"
    ),
    "questions need their answers: columns * and *, or 'answers' as in SQuAD. The rows have *.": (
        "问答需要答案：* 与 * 两列，或 SQuAD 形式的 answers。现有列为 *。"
    ),
    "the table has no column *, which the model reads.* It has: *. Name the column (--column, --pair), or all columns "
    "of a file without a header (--name).": (
        "表中没有模型读取的列 *。†现有列：*。请指定列（`--column`、`--pair`），或为没有表头的文件指定列名（`--name`）。"
    ),
    "* of * rows have no text in column *: rows *.": "* 行（共 * 行）在 * 列中没有文本：行号 *。",
    "the folder * holds no file that the model reads (*).": "文件夹 * 中没有模型能读取的文件（*）。",
    "which column names the files? Name it (--column). The table has: *.": (
        "哪一列是文件名？请用 `--column` 指定。现有列：*。"
    ),
    "the table has no column *.* It has: *.": "表中没有列 *。†现有列：*。",
    "a picture holds values that are missing or infinite.": "图片含有缺失或无穷的数值。",
    "a picture cannot be read: *.": "图片无法读取：†。",
    "column *, rows * to *: *.": "* 列，第 * 至 * 行：†。",
    "a value is missing or infinite": "有缺失或无穷的数值",
    "* is a *": "* 是†",
    "the values lie between * and *, where float32 has steps of *: subtract *": (
        "数值在 * 与 * 之间，float32 在此处的间隔为 *：请减去 *"
    ),
    "a picture holds values from * to *; the model was trained on bytes: give whole numbers from 0 to 255, or numbers "
    "from 0 to 1.": ("图片的数值从 * 到 *；模型用字节训练：请给出 0 到 255 的整数，或 0 到 1 的数值。"),
    "the model reads pictures of * channels; give arrays of the shape *.": (
        "此模型读取 * 个通道的图片；请给出形状为 * 的数组。"
    ),
    "picture * is missing.": "第 * 张图片缺失。",
    "there is no picture *; the model reads files of pictures, or arrays.": "没有图片 *；此模型读取图片文件或数组。",
    "* of * answers cannot be used: *.": "* 个答案（共 * 个）无法使用：†。",
    "example *: the tokenizer makes no token of its answer, *.": "样本 *：分词器未能从其答案 * 得到词元。",
    "example *: its answer has * tokens, but a window only room for *. Raise max_length, or leave the row out.": (
        "样本 *：其答案有 * 个词元，而一个窗口只能容纳 * 个。请增大最大长度，或去掉该行。"
    ),
    "*. Up to * % is let pass. Remove the copies from train with `rows.dedupe()`, or go on with "
    "accept_leakage=True and read the scores with that in mind.": (
        "†。最多允许 * %。请在“预处理”中去除重复行，或勾选“即使测试集的行出现在训练集也训练”，但得分会偏高。"
    ),
    "only a split named 'train' can be split; there are: *.": "只能划分名为 train 的子集；现有：*。",
    "* rows are too few to be cut into train, *.": "* 行太少，无法划分为训练集、†。",
    "no rows are left for *: *, too few or too uneven for these sizes.": "没有剩余的行可作†：†，行数太少或分布不均。",
    "there is no column * to group by.* Columns: *.": "没有可用来分组的列 *。†现有列：*。",
    "* = * must be a fraction of the rows below 1 (0.1) or a number of rows (500).": (
        "* = * 应为小于 1 的占比（0.1）或行数（500）。"
    ),
    "* would take * of the * rows of train: ask for less.": "† 会占去 * 行，而 train 共有 * 行：请减少。",
    "the cache file * cannot be read back. Is the disk full?": "无法读回缓存文件 *。磁盘是否已满？",
    "a column is called *, a name that labkit uses itself: rename it.": "有一列名为 *，是 labkit 自用的名称：请改名。",
    "column * mixes kinds: row * holds a *.": "* 列混有不同类型：第 * 行是 *。",
    "no column can be a feature; the columns are *.": "没有可作特征的列；现有列为 *。",
    "the new rows have no column *; the model reads *.": "新数据没有列 *；模型需要 *。",
    "column * holds * in row *, which is none of its categories: *.": "* 列含有 *（第 * 行），不在已知取值之内：*。",
    "column * holds * in row *, which is not *.*": "* 列含有 *（第 * 行），应为†。†",
    "column * cannot be a feature: *.": "* 列不能作特征：†。",
    "column * holds numbers such as *, whose comma may mark decimals or thousands: pass decimal=',' or decimal='.'.": (
        "* 列的数值如 *，其中逗号可能是小数点或千位分隔符：请在代码中给出 decimal=',' 或 decimal='.'。"
    ),
    "column * holds lists of * zeros and ones; there are * classes.": "* 列是 * 个 0 或 1 的列表；共有 * 个类别。",
    "column * holds values such as *, not lists of labels.": "* 列含有 * 这样的值，不是标签的列表。",
    "column * holds the classes *, not *.": "* 列的内容是类别 *，不是†。",
    "the numbers in column * have several units: *. Bring them to one.": "* 列的数值有多种单位：*。请统一单位。",
    "feature * is * in row *, a *. Drop the row, or leave it empty.": "特征 * 在第 * 行为 *，†。请去掉此行或留空。",
    "feature * is * in row *, farther from the training rows (deviation *) than float32 can hold.": (
        "特征 * 在第 * 行为 *，与训练数据（标准差 *）相差太远，float32 无法表示。"
    ),
    "* has the deviation *; float32 can answer with * to *: give it in another unit.": (
        "* 的标准差为 *；float32 能回答的范围是 * 到 *：请换一个单位。"
    ),
    "* is * in a row, farther from the training rows (deviation *) than float32 can hold.": (
        "* 在某行为 *，与训练数据（标准差 *）相差太远，float32 无法表示。"
    ),
    "the answer for example * is no finite number: is it far from the training rows?": (
        "样本 * 的答案不是有限的数值：它是否与训练数据相差太远？"
    ),
    "*: * = * is of another type than * takes.": "*：* = * 的类型不是 * 所要求的。",
    "*, a * file, has no use for *: leave it out*.": "* 是 * 文件，不需要 *：请去掉†。",
    "; such files take *": "；此类文件可用：*",
    "there is no file *. If this is a text, give it in a list: [*].": "没有文件 *。若这是文本，请放入列表：[*]。",
    "there is no file or folder *; the model reads *.": "没有文件或文件夹 *；模型读取的是 *。",
    "give one question with one paragraph, or lists of them of the same length.": (
        "请给出一个问题与一个段落，或长度相同的两个列表。"
    ),
    "column * holds * in row *, a *.": "* 列第 * 行为 *，†。",
    "number beyond ±3.4e38, the range of float32": "超出 float32 范围 ±3.4e38 的数值",
    "feature * is infinite in row *. Drop the row, or leave it empty.": "特征 * 在第 * 行为无穷大。请去掉此行或留空。",
    "there are several splits: *. Give one of them.": "有多个子集：*。请给出其中一个。",
    "column * has * different labels; that is no classification any more.": "* 列有 * 个不同的标签；这已不是分类。",
    "the tokenizer's vocabulary (* pieces) has no *.": "分词器的词表（* 个词元）缺少 *。",
    "unknown kind of tokenizer *.* Known: *.": "未知的分词方式 *。†可用的有：*。",
    "vocab_size = * is too small for *: at least *.": "词表大小 = * 对 * 来说太小：至少 *。",
    "there is no text to learn a vocabulary from (* rows, all empty).": "没有可用来学习词表的文本（* 行，全部为空）。",
    "max_length = * leaves no room for text beside the special tokens.": "最大长度 = * 在特殊词元之外放不下文本。",
    "* in * is not a tokenizer: *": "*（位于 *）不是分词器：*",
    "the tokens cannot be kept in *: set LABKIT_CACHE to another folder.": (
        "词元无法保存在 * 中：请将 LABKIT_CACHE 设为另一文件夹。"
    ),
    "example * has no *; drop such rows when loading, or fill them in.": (
        "样本 * 没有 *；请在加载时丢弃这些行，或补全它们。"
    ),
    "* is no file or folder here, no sample (*) and no hub name (organisation/name).*": (
        "* 不是此处的文件或文件夹，不是示例数据（*），也不是 hub 名称（组织/名称）。†"
    ),
    "* of * rows cannot be used:": "* 行（共 * 行）无法使用：",
    'Mend them in the source, or pass on_bad="skip" to leave them out; rows.report then lists each.': (
        "请在源文件中修正，或将“无效行”设为“跳过”。"
    ),
    "no tokenizer.json or vocab.txt in * (*).": "* 中没有 tokenizer.json 或 vocab.txt（其中有：†）。",
    "* has a vocabulary without *. Fetch or copy the folder again.": "* 有词表但缺少 *。请重新获取或复制该文件夹。",
    "* in * is a sentencepiece model, which labkit does not read. Convert it to "
    "tokenizer.json: transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(folder).": (
        "*（位于 *）是 sentencepiece 模型，labkit 不读取。请将其转换为 tokenizer.json："
        "transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(folder)。"
    ),
    "* in * belongs to a *, which does not split texts as * does. "
    "Convert it to tokenizer.json: "
    "transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(folder).": (
        "*（位于 *）属于 *，其切分文本的方式与 * 不同。请将其转换为 tokenizer.json："
        "transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(folder)。"
    ),
    "the token * has the id * in the vocabulary of *, but "
    "* in the list of added tokens. Fetch or copy the folder again.": (
        "词元 * 的编号是 *（* 的词表），但在新增词元列表中是 *。请重新获取或复制该文件夹。"
    ),
    "the tokenizer's vocabulary (* pieces) has no end token: no *. Name it as eos_token in tokenizer_config.json.": (
        "分词器的词表（* 个词元）没有结束词元：缺少 *。请在 tokenizer_config.json 中以 eos_token 指明。"
    ),
    "the tokenizer's post-processor (*) does not keep * text(s) in order; labkit needs each text once. "
    "Use a tokenizer.json whose template has $A once and, for pairs, $A before $B.": (
        "分词器的后处理器（*）没有按顺序保留 * 段文本；labkit 要求每段文本恰好出现一次。"
        "请使用模板中 $A 只出现一次、且文本对中 $A 在 $B 之前的 tokenizer.json。"
    ),
    "masked words need a token such as [MASK]; the tokenizer has none.": (
        "遮盖词语需要 [MASK] 之类的词元；该分词器没有。"
    ),
    "next_sentence needs a token that begins a row, such as [CLS]; the tokenizer has none.": (
        "预测下一句（next_sentence）需要 [CLS] 之类的开头词元；该分词器没有。"
    ),
    "* in * cannot be read: *": "*（位于 *）无法读取：*",
    "* in * holds a *, not a table of settings.": "*（位于 *）的内容是 *，不是设置表。",
    "* has * columns; at most * are read. Leave columns out.": ("* 有 * 列；最多读取 * 列。请去掉一些列。"),
    "*: the name of column *, *, holds a NUL character. Remove it; a file of UTF-16 is read with encoding='utf-16'.": (
        "*：第 * 列的列名 * 含有空字符（NUL）。请将其删除；UTF-16 文件请用 encoding='utf-16' 读取。"
    ),
    "the tokenizer puts * characters in front of a text; at most * are allowed.": (
        "分词器会在文本前加上 * 个字符；最多允许 * 个。"
    ),
    "the tokenizer has max_input_chars_per_word = *; at most * is allowed.": (
        "分词器的 max_input_chars_per_word = *；最多允许 *。"
    ),
    "the tokenizer's vocabulary has * pieces, but the id *; a table with a row for every id would be "
    "far larger than the vocabulary. Fetch or copy the tokenizer again.": (
        "分词器的词表有 * 个词元，却有编号 *；若每个编号占一行，嵌入表会远大于词表。请重新获取或复制分词器。"
    ),
    "the tokenizer has * steps; at most * are run.": ("分词器有 * 个步骤；最多执行 * 个。"),
    "the tokenizer may make a text * times as long (* by *); at most * times is allowed. Take the "
    "tokenizer from its publisher.": (
        "分词器可能使文本变长到 * 倍（* 使其变长到 * 倍）；最多允许 * 倍。请从发布者处获取分词器。"
    ),
    "the tokenizer failed on a text (*). Take another one, or shorten the text.": (
        "分词器处理文本时出错（*）。请换用其他分词器，或缩短文本。"
    ),
    "the tokenizer's regular expressions take more than * s for texts of * characters. Take the "
    "tokenizer from its publisher.": (
        "分词器的正则表达式处理 * 秒仍未完成（文本长 * 个字符）。请从发布者处获取分词器。"
    ),
    "its header says * samples a second; read are * to *": ("文件头写的是每秒 * 个采样；可读取的为 * 到 *"),
    "several columns are called * once their names are valid Unicode: rename them.": (
        "列名改为有效的 Unicode 后，有多列名为 *：请改名。"
    ),
}
