"""What other floors say in English and panels show: data samples, what was found in rows, errors and their cures.

Those floors know no languages; a panel asks here for the Chinese of a sentence or phrase. What is not in the tables
stays English. The sentences of errors stand in words_errors*.py.
"""

from __future__ import annotations

import re

from labkit.panels import words_errors, words_errors_data, words_errors_models, words_errors_train
from labkit.panels.phrases import Phrases
from labkit.panels.words import RUNS, word
from labkit.panels.words_fields import FIELDS
from labkit.train.store import STATUSES

#: Data sample → what it is.
SAMPLES: dict[str, str] = {
    "movie-reviews": "10,605 句英文影评，附约 20 位读者的平均评分（-4 到 4）",
    "reviews-zh": "35,123 条中文购物评论，分正面与负面；约一半是重复",
    "spam": "2002 与 2003 年的 6,046 封邮件，分正常邮件与垃圾邮件",
    "digits": "1,797 张手写数字图像，8 x 8，17 级灰度",
    "breast-cancer": "569 个肿瘤的 30 项细胞测量值，分良性与恶性",
    "diabetes": "442 位患者的十项测量值，以及一年后糖尿病的进展程度（数值）",
    "fashion-mnist": "70,000 张服装灰度图像，28 x 28，十个类别；60,000 张训练，10,000 张测试",
    "austen": "简·奥斯汀的六部小说，逐段",
    "brown": "1961 年的布朗语料库：15 种体裁的 57,340 句英文，每个词附词性",
    "ui-zh": "JupyterLab 及其扩展的 3,464 条界面短语，中英对照",
}

#: What the report of loading says of rows → the same. ``*`` stands for anything.
REASONS: dict[str, str] = {
    "empty text": "文本为空",
    "empty after cleaning": "清洗后为空",
    "blank line": "空行",
    "odd quote": "引号不成对",
    "wrong number of fields": "字段数不符",
    "not a JSON object": "不是 JSON 对象",
    "not a number": "不是数值",
    "neither 0 nor 1": "既非 0 也非 1",
    "label outside classes": "标签不在类别之内",
    "missing label": "缺少标签",
    "missing value": "缺少数值",
    "not a date": "不是日期",
    "not a duration": "不是时长",
    "labels that differ only in case": "仅大小写不同的标签",
    "labels that differ only in spaces or Unicode form": "仅空白或 Unicode 形式不同的标签",
    "label that may mean a missing value": "可能表示缺失的标签",
    "labels that may be several labels": "可能是多个标签的文本",
    "categories that look alike": "看上去相同的取值",
    "columns with names that look alike": "列名看上去相同",
    "feature that numbers the rows": "为行编号的特征",
    "second class counts as 1": "第二个类别记为 1",
    "written list of labels read": "读作标签列表的文本",
    "zeros and ones read as labels": "读作标签的 0 与 1",
    "mixed kinds became JSON text": "类型不一的值转为 JSON 文本",
    "type kept as text": "此类型按文本保存",
    "dates became days since 1970-01-01": "日期转为自 1970-01-01 起的天数",
    "durations became seconds": "时长转为秒数",
    "decimal comma read": "逗号读作小数点",
    "comma between thousands read": "逗号读作千位分隔符",
    "number beyond ±3.4e38, the range of float32": "数值超出 float32 的范围 ±3.4e38",
    "values that are equal in float32": "在 float32 中变为相同的数值",
    "whole number beyond 2^53 rounded": "超过 2^53 的整数被舍入",
    "unit of numbers left out": "数值的单位未使用",
    "answer not at its place in the paragraph": "答案不在段落中的所给位置",
    "answer without a start": "答案缺少起始位置",
    "no answer although is_impossible is false": "is_impossible 为假却没有答案",
    "answer moved to its letters": "答案已移至其文字",
    "question without an answer": "没有答案的问题",
    "answer of an impossible question left out": "不可回答的问题的答案未使用",
    "unseen label": "训练集中没有的标签",
    "unknown label": "未知标签",
    "class missing from a split": "某个子集缺少此类别",
    "class without training rows": "没有训练数据的类别",
    "only one class": "只有一个类别",
    "category not among those of train": "训练集中没有的取值",
    "duplicate": "重复",
    "near duplicate": "近似重复",
    "duplicate with another label": "重复但标签不同",
    "copies disagree": "重复行的标签不一致",
    "left out by sample": "抽样时舍去",
    "split": "划分",
    "number became text": "数值转为文本",
    "number among texts became text": "文本中的数值转为文本",
    "lone surrogate became U+FFFD": "孤立的代理码变为 U+FFFD",
    "bytes that are not * became U+FFFD": "不合 * 编码的字节变为 U+FFFD",
    "encoding guessed": "编码为推测",
    "encoding in doubt": "编码不确定",
    "text above a million characters": "文本超过一百万个字符",
    "control characters": "控制字符",
    "zero-width or bidirectional characters": "零宽或双向书写字符",
    "white space around a column name": "列名两侧有空白",
    "white space around a label": "标签两侧有空白",
    "label 1.0 became 1": "标签 1.0 变为 1",
    "column name is a number": "列名是数字",
    "column renamed": "列已改名",
    "column left out": "列未使用",
    "column without a name": "列没有名称",
    "index left out": "索引未使用",
    "label column chosen by its few values": "标签列按取值较少选定",
    "text column chosen by its length": "文本列按长度选定",
    "file not read": "未读取的文件",
    "file of the system passed over": "已跳过的系统文件",
    "file in a folder within its class": "类别文件夹的子文件夹中的文件",
    "files read as one table": "多个文件合并为一张表",
    "no such file": "没有此文件",
    "sheet not read": "未读取的工作表",
    "formula without a value": "没有值的公式",
    "JSON key left out": "未读取的 JSON 键",
    "NULL read as missing": "NULL 读作缺失",
    "pictures brought to one size": "图像统一为同一尺寸",
    "sound cut": "声音被截断",
    "rows of * in train": "* 中有行出现在训练集",
    "kept * as it came": "* 保持原样",
}

#: Why a column is no feature → the same.
LEFT_OUT: dict[str, str] = {
    "neither numbers nor words that repeat": "既不是数值，也不是重复出现的词",
    "lists, dicts or mixed kinds": "列表、字典或类型不一",
    "no value in train": "训练集中没有值",
    "* categories; at most *": "* 个取值；最多 * 个",
    "type *": "类型 *",
    "numbers with several units: *": "数值有多种单位：*",
    "* may have a decimal comma or not: pass decimal=',' or decimal='.'": (
        "* 中的逗号可能是小数点：请在代码中给出 decimal=',' 或 decimal='.'"
    ),
    "codes with leading zeros": "以零开头的编码",
    "dates like 1/2/2020, day or month first; write 2020-01-31": (
        "1/2/2020 形式的日期，日月先后不明；请写作 2020-01-31"
    ),
    "identifier; features=(…) uses it": "标识列；在代码中列入 features=(…) 可使用",
}

#: What stands within sentences in the place of a value → the same.
PARTS: dict[str, str] = {
    # what rows hold, models read and tasks learn
    "texts": "文本",
    "pairs of texts": "文本对",
    "pictures": "图像",
    "features": "数值特征",
    "sounds": "声音",
    "one class": "一个类别",
    "any number of labels": "任意多个标签",
    "a number": "一个数值",
    "architecture": "架构",
    "task": "任务",
    "text": "文本",
    "label": "标签",
    "none": "无",
    "nothing": "（空）",
    "none, it came empty": "无，本来就是空的",
    "cache folder": "缓存文件夹",
    "lab folder": "实验文件夹",
    "it is a file": "它是文件",
    "the source": "来源",
    " through the proxy * (HTTPS_PROXY)": "（经代理 *，HTTPS_PROXY）",
    '; with \\" in it: pass escapechar="\\\\" if a backslash makes a quote plain text': (
        '（其中有 \\"：若反斜杠使引号成为普通文字，请在代码中给出 escapechar="\\\\"）'
    ),
    "it is empty": "空文件夹",
    "no such path": "没有此路径",
    # constant answers and linear baselines
    "the most frequent class": "最常见的类别",
    "the most frequent labels": "最常见的标签",
    "the mean": "均值",
    "the token frequencies": "词元频率",
    "logistic regression": "逻辑回归",
    "ridge regression": "岭回归",
    "TF-IDF + logistic regression": "TF-IDF + 逻辑回归",
    "TF-IDF + ridge regression": "TF-IDF + 岭回归",
    # what columns hold
    **LEFT_OUT,
    "numbers": "数值",
    "0 and 1": "0 与 1",
    "a date": "日期",
    "a duration": "时长",
    "true or false": "true 或 false",
    " It was trained on numbers without a comma.": "训练数据中的数值没有逗号。",
    " Its numbers are written with a percent sign.": "其数值带有百分号。",
    " The training rows have dates with a time zone.": "训练数据的日期有时区。",
    " The training rows have dates without a time zone.": "训练数据的日期没有时区。",
    # kinds of files
    "a pickle": "pickle 文件",
    "a ZIP archive": "ZIP 压缩包",
    "a ZIP archive, as torch.save writes (pickle inside)": "ZIP 压缩包，由 torch.save 写入（内含 pickle）",
    "a NumPy file": "NumPy 文件",
    "an HDF5 file": "HDF5 文件",
    "a GGUF file": "GGUF 文件",
    "a gzip archive": "gzip 压缩包",
    "a bzip2 archive": "bzip2 压缩包",
    "an xz archive": "xz 压缩包",
    "a zstandard archive": "zstandard 压缩包",
    "a Parquet file": "Parquet 文件",
    "a * file": "* 文件",
    "a Git LFS pointer, not the file itself; run `git lfs pull` in that folder": (
        "Git LFS 指针，而非文件本身；请在该文件夹中运行 `git lfs pull`"
    ),
    # places and reasons
    "* of * in * (rows *)": "* 行（共 * 行，属†；行号 *）",
    "* of * rows of * (* %) are also in train": "* 行（共 * 行，属†；* %）也在训练集",
    "* of * rows of * (* %) are also in train (row = row in train: *)": (
        "* 行（共 * 行，属†；* %）也在训练集（行号 = 训练集中的行号：*）"
    ),
    **{name: word(f"split_{name}", "zh") for name in ("train", "validation", "test")},
    "validation = *": "验证集 *",
    "test = *": "测试集 *",
    "* has * values": "* 有 * 个不同的值",
    "train has * different texts": "训练集有 * 条不同的文本",
    "* at character *": "*（第 * 个字符处）",
    "the address *": "地址 *",
    "the path *": "路径 *",
    "the sample *": "示例 *",
    "the hub name *": "hub 名称 *",
    "saved rows": "已保存的数据",
    "*, which is no file here": "*，它不是此处的文件",
    "*, or text=(*) for pairs of texts": "*；文本对用 text=(*)",
    "*, or label=False for none": "*；没有标签用 label=False",
    ", by process * on *": "（进程 *，主机 *）",
    "the run is back at step *": "运行已回到第 * 步",
    "there is no checkpoint to go back to": "没有可以回到的检查点",
    " `run.resume()` takes it up again.": "可用 `run.resume()` 继续。",
    "* MB are needed, * MB are free in *": "需要 * MB，而可用 * MB（* 中）",
    "* is damaged": "* 已损坏",
    "* is missing": "缺少 *",
    "* has * bytes, not *": "* 有 * 字节，而不是 *",
    "* has another content (SHA-256)": "* 的内容不同（SHA-256）",
    "* cannot be read (*)": "无法读取 *（*）",
    # why a checkpoint is not used
    "step_*: *": "检查点 step_*：†",
    "* is a link": "* 是链接",
    "* is not in its manifest": "清单中没有 *",
    "it is a link, to *": "它是指向 * 的链接",
    "no step has this name": "没有这样命名的步",
    "it was saved at step *": "它保存于第 * 步",
    "its numbers are not finite": "其数值不是有限的",
    "its manifest lacks *: another version of labkit wrote it": "其清单缺少 *：由另一版本的 labkit 写入",
    "its manifest names no sessions": "其清单没有写明会话",
    "it belongs to run *": "它属于运行 *",
    "another copy of this run wrote it": "由此运行的另一份副本写入",
    "the run was resumed from step * and replaced it": "运行已从第 * 步继续，取代了它",
    "its experiment cannot be read: *": "无法读取其实验：*",
    "the experiment of the run differs (*)": "运行的实验不同（*）",
    "the rows of the run differ from those it learned from": "运行的数据与它所学的不同",
    "the tokenizer of the run differs from the one it learned with": "运行的分词器与它所用的不同",
    "the run store, whose records come first, cannot be written": "须先写入的运行记录无法写入",
}

#: What stands behind the colon of a reason → the same.
DETAILS: dict[str, str] = {
    "it is called * now": "现名 *",
    "*; a classifier needs two": "*；分类至少需要两个类别",
    "rows are numbered by position; reset_index() keeps it": "行按位置编号；reset_index() 可保留索引",
    **LEFT_OUT,
    "leave it out by features=(…)": "可在代码中用 features=(…) 不使用它",
    "* labels": "* 个标签",
    "*; separator=* reads several labels": "*；代码中 separator=* 可读作多个标签",
    "*; decimal=',' reads a decimal comma": "*；代码中 decimal=',' 将逗号读作小数点",
    "*; classes=* joins them": "*；代码中 classes=* 可合并它们",
    'pass encoding="…" if texts look wrong': '若文本显示不正确，请在代码中给出 encoding="…"',
    "has the file no header? pass names=": "文件没有表头吗？可在代码中给出 names=",
    'name it with text="…"': "可在“文本列”中另选",
    'name it with label="…"': "可在“标签列”中另选",
    "line *": "第 * 行",
    "line *: *": "第 * 行：†",
    "lines * to *, read as one record": "第 * 至 * 行，读作一条记录",
    "lines * to *, read as one record: *": "第 * 至 * 行，读作一条记录：†",
    "* fields, not *": "* 个字段，而不是 * 个",
    "item *: *": "第 * 项：†",
    "* values, not *": "* 个值，而不是 * 个",
    "a list, not an object; pass names=… with the names of the columns": "是列表，不是对象；请用 names=… 给出列名",
    '* reads *, * reads *; pass encoding="…" to settle it': '按 * 读作 *，按 * 读作 *；可在代码中给出 encoding="…"',
    "* in line *": "第 * 行：*",
    "*; * is read (sheet=… reads another)": "*；读取的是 *（代码中 sheet=… 可另定）",
    "a *, not an object": "是 *，不是对象",
    "the key * stands there twice": "键 * 出现了两次",
    "<unseen>: * is not among the labels of train": "<unseen>：* 不在训练集的标签之内",
    "* is none of *.*": "* 不在 * 之内。†",
    "train has no row of *": "训练集中没有 * 的行",
    "* of * rows, seed *": "* 行（共 * 行），随机种子 *",
    "* rows; in their order": "* 行；按原有顺序",
    "* rows; *, seed *": "* 行；†，随机种子 *",
    "stratified": "各类别比例一致",
    "at random": "随机",
    "by *": "按 * 分组",
    "* rows": "* 行",
    "* has * row": "* 有 * 行",
    "* has * rows": "* 有 * 行",
    "* here, another label elsewhere": "此处为 *，别处标签不同",
    "* here, * there; *": "此处为 *，彼处为 *；†",
    "similarity *; *": "相似度 *；†",
    "kept: row * in *": "保留：第 * 行（* 中）",
    "* became *": "* 变为 *",
    "* of other sizes, now * x * (size=… says another)": "* 张尺寸不同，现为 * x *（代码中 size=… 可另定）",
    "* s; * s are kept (seconds=… says how many)": "* 秒；保留 * 秒（代码中 seconds=… 可另定）",
    "by the sample *": "由示例 * 给出",
}

#: Words of a run on what it does now → the same.
MESSAGES: dict[str, str] = {
    "tokenising": "切分词元",
    "reading": "读取数据",
    "making the model": "创建模型",
    "step * of *: *": "第 * / * 种形状：*",
    "step *": "第 * 步",
    "after step *": "第 * 步之后",
    "the last checkpoint and the model": "最后的检查点与模型",
    "*: begun again": "†：重新开始",
}

#: What a run, or a report, warns of → the same. The marks are those of :mod:`labkit.panels.phrases`.
WARNINGS: dict[str, str] = {
    "Not bitwise: resumed at step * under other conditions (*). From this step on, numbers can differ from those of an "
    "uninterrupted run.": "并非逐位一致：在第 * 步以不同的条件继续（*）。从此步起，数值可能与不间断的运行不同。",
    "The sessions of the run are taken from the checkpoint of step *: *.": "运行的会话取自第 * 步的检查点：†。",
    "The checkpoint of step * is not there any more: the run goes on from step *.": (
        "第 * 步的检查点已不存在：运行从第 * 步继续。"
    ),
    "The best evaluation was that of step *, whose checkpoint is not there: the model is that of step *.": (
        "最佳评估为第 * 步，其检查点不存在：模型取自第 * 步。"
    ),
    "Checkpoint set aside, not used: *.": "已搁置、未使用的检查点：†。",
    "The pretrained weights have no *: it starts from random values, as the head does.": (
        "预训练权重中没有 *：它与输出层一样从随机值开始。"
    ),
    "Truncated to max_length = *: * of * texts of * (*) lose their end, * of all tokens. A larger max_length reads "
    "more.": "按最大长度 * 截断：*（共 * 条文本，属†；*）失去末尾，占全部词元的 *。增大最大长度可读取更多。",
    **{
        f"No better than *: {metric} of {split} *, for a constant answer *.": (
            f"不优于†：{word(f'split_{split}', 'zh')}的 {said} 为 *，而恒定预测为 *。"
        )
        for metric, said in (("F1", "F1"), ("R²", "R²"), ("loss", "损失"))
        for split in ("train", "validation", "test")
    },
    **{
        f"Worse than the linear baseline (*): {metric} of {split} *, against *.": (
            f"不如线性基线（†）：{word(f'split_{split}', 'zh')}的 {metric} 为 *，基线为 *。"
        )
        for metric in ("F1", "R²")
        for split in ("train", "validation", "test")
    },
    "The baselines read more than the model: * characters of each text, where it reads * tokens.": (
        "基线读取的文本比模型多：每条文本读 * 个字符，而模型读 * 个词元。"
    ),
    "Likely cause: the learning rate * is probably too low (default of this model: *).": (
        "可能的原因：学习率 * 可能过低（此模型的默认值：*）。"
    ),
    "Likely cause: the learning rate * is probably too high (default of this model: *).": (
        "可能的原因：学习率 * 可能过高（此模型的默认值：*）。"
    ),
    **{
        "The training loss hardly fell, from * to *: the learning rate * is probably too "
        f"{kind} (default of this model: *).": (
            f"训练损失几乎没有下降（从 * 到 *）：学习率 * 可能过{said}（此模型的默认值：*）。"
        )
        for kind, said in (("low", "低"), ("high", "高"))
    },
    "Likely cause: training diverged, its loss rose from * to *. Lower the learning rate (it was *).": (
        "可能的原因：训练发散，损失从 * 升到 *。请降低学习率（当时为 *）。"
    ),
    'Likely cause: * of the training rows are of one class. Try class_weights="balanced".': (
        '可能的原因：* 的训练数据属于同一类别。可尝试 class_weights="balanced"。'
    ),
    "Likely cause: there were only * steps. Train for more epochs, or with a smaller batch_size.": (
        "可能的原因：只训练了 * 步。请增加轮数，或减小批大小。"
    ),
    "Likely cause: truncation lost * of the tokens. Try a larger max_length.": (
        "可能的原因：截断丢失了 * 的词元。可增大最大长度。"
    ),
    "Likely cause: underfitting, the training loss hardly fell, from * to *. Try more epochs or another learning rate "
    "(it was *); or the labels cannot be predicted from what the model reads.": (
        "可能的原因：欠拟合，训练损失几乎没有下降（从 * 到 *）。可增加轮数或更换学习率（当时为 *）；"
        "也可能标签无法由模型的输入预测。"
    ),
    "Likely cause: overfitting, the training loss fell from * to * and the validation rows gained nothing. Try more "
    "training rows, fewer epochs or a smaller model; or the labels cannot be predicted from what the model reads.": (
        "可能的原因：过拟合，训练损失从 * 降到 *，验证集却没有改善。可增加训练数据、减少轮数或减小模型；"
        "也可能标签无法由模型的输入预测。"
    ),
}

#: What the operating system and Python say → the same.
SYSTEM: dict[str, str] = {
    "No space left on device": "磁盘空间不足",
    "File exists": "文件已存在",
    "Not a directory": "不是文件夹",
    "Disk quota exceeded": "超出磁盘配额",
    "Read-only file system": "文件系统只读",
    "File too large": "文件过大",
    "Permission denied": "没有权限",
    "Input/output error": "输入输出错误",
    "No such file or directory": "没有此文件或文件夹",
    "could not convert string to float: *": "无法读作数值：*",
}

#: Cures of runs → the same. The marks are those of :mod:`labkit.panels.phrases`.
CURES: dict[str, str] = {
    "Out of memory. Try *; or *, which computes a batch in two parts; or a smaller max_length or model. When other "
    "programs have given memory back, the run can be resumed as it is.": (
        "内存不足。请尝试 *；或 *（将一批分两次计算）；或更小的最大长度或模型。其他程序释放内存后，可直接继续此运行。"
    ),
    "Out of memory at a batch of *. Try *; or *, which computes a batch in two parts; or a smaller max_length or "
    "model. When other programs have given memory back, the run can be resumed as it is.": (
        "批形状 * 时内存不足。请尝试 *；或 *（将一批分两次计算）；或更小的最大长度或模型。其他程序释放内存后，"
        "可直接继续此运行。"
    ),
    "Make room on the disk of the lab folder, or make it writable; then resume the run.": (
        "请为实验文件夹所在的磁盘腾出空间，或使其可写；然后继续此运行。"
    ),
    "This is not an error labkit knows. The traceback says where it arose; the run can be resumed.": (
        "labkit 不认识此错误。错误堆栈指出了出错位置；此运行可以继续。"
    ),
    "Resume it from its last checkpoint: *.": "可从最近的检查点继续：*。",
    "The run can be resumed from its last checkpoint: *.": "此运行可从最近的检查点继续：*。",
    "The system kills what takes too much memory: try half the batch_size, or accumulate=2. ": (
        "系统会终止占用过多内存的程序：请尝试将 batch_size 减半，或 accumulate=2。"
    ),
}

#: Kinds of errors, by the names of their classes.
KINDS = {
    "DataError": "数据错误",
    "ConfigError": "设置错误",
    "SampleError": "示例获取失败",
    "WeightsError": "权重错误",
    "RunError": "运行错误",
    "FolderError": "文件夹错误",
    "StoreError": "运行记录错误",
    "OSError": "系统错误",
    "MemoryError": "内存不足",
}


def _setting(field: str) -> str:
    """A setting, such as ``Training.epochs``, by its name in the form."""
    place, dot, name = field.rpartition(".")
    return f"“{FIELDS[name][1]}”（{field}）" if dot and place.isidentifier() and name in FIELDS else field


_COUNTED = {f"{why} *": f"{said} *" for why, said in REASONS.items() if "*" not in why}
_WITHIN = Phrases(PARTS | _COUNTED | SYSTEM | {name: RUNS[name][1] for name in STATUSES})
_KNOWN = Phrases(
    words_errors.SENTENCES
    | words_errors_data.SENTENCES
    | words_errors_models.SENTENCES
    | words_errors_train.SENTENCES
    | CURES
    | WARNINGS
    | SYSTEM,
    _WITHIN, _setting,
)  # fmt: skip
_DETAILS, _REASONS = Phrases(DETAILS, _KNOWN), Phrases(REASONS)
_MESSAGES = Phrases(MESSAGES, _KNOWN)
#: A line with more characters stays as it is: errors are not that long, unless somebody means them to be.
_LONGEST = 20_000
#: The same of a line of rows, of which five are listed: looking into it takes time with the square of its length.
_LONGEST_ROWS = 4_000
#: A line of the rows that were refused, a row in it, and what is said of that.
_ROWS = re.compile(r"( +)(\S.*?) \(([\d,]+)\): (row .*)")
_ROW = re.compile(r"\brow (\d+)(?: of (\w+))?(?: \((.*?)\)(?=; row |$))?")


def sample(name: str, about: str, language: str) -> str:
    """What a data sample is."""
    return SAMPLES.get(name, about) if language == "zh" else about


def reason(text: str, language: str) -> str:
    """What the report of loading found, and the detail behind its colon."""
    if language != "zh":
        return text
    head, colon, detail = text.partition(": ")
    return (_REASONS.whole(head) or head) + ("：" if colon else "") + _detail(detail)


def message(text: str, language: str) -> str:
    """What a run says it is doing."""
    if language != "zh":
        return text
    return _MESSAGES.whole(text) or sentences(text, language)


def sentences(text: str, language: str) -> str:
    """An error or a cure, as far as its sentences are known."""
    return "\n".join(map(_line, text.split("\n"))) if language == "zh" else text


def error(text: str, language: str) -> str:
    """An error as a panel shows it: its class, then what it says."""
    kind, colon, said = text.partition(": ")
    if language != "zh" or kind not in KINDS:
        return text
    return f"{KINDS[kind]} {kind}{colon}{sentences(said, language)}"


def _line(text: str) -> str:
    if len(text) > _LONGEST:
        return text
    if len(text) <= _LONGEST_ROWS and (listed := _ROWS.fullmatch(text)):
        blank, why, count, rows = listed.groups()
        return f"{blank}{reason(why, 'zh')} ({count}): {_ROW.sub(_row, rows)}"
    return _KNOWN.whole(text) or _KNOWN.within(text)


def _row(found: re.Match[str]) -> str:
    number, split, detail = found.groups()
    return f"{PARTS.get(split, f'{split} ') if split else ''}第 {number} 行{f'（{_detail(detail)}）' if detail else ''}"


def _detail(text: str) -> str:
    return _DETAILS.whole(text) or text
