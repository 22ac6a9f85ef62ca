"""What other floors say in English and panels show: data samples, what was found in rows, errors and their cures.

Those floors know no languages; a panel asks here for the Chinese of a sentence or phrase. What is not in the tables
stays English.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

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
    "pictures brought to one size": "图像统一为同一尺寸",
    "sound cut": "声音被截断",
    "rows of * in train": "* 中有行出现在训练集",
    "kept * as it came": "* 保持原样",
}

#: Errors and cures, or parts of them → the same.
SENTENCES: dict[str, str] = {
    "there are no rows yet: choose some in the step Data.": "尚无数据：请先在“数据”步骤中选择。",
    "no model was chosen yet: do so in the step Model.": "尚未选择模型：请在“模型”步骤中选择。",
    "the rows were made in Python and are gone with the kernel: give them again.": (
        "数据是用 Python 创建的，已随内核消失：请重新提供。"
    ),
    "* is no file or folder here, no sample (*) and no hub name (organisation/name).": (
        "* 不是此处的文件或文件夹，不是示例数据（*），也不是 hub 名称（组织/名称）。"
    ),
    " Did you mean *?": " 是否指 *？",
    "there is no file or folder *.": "没有文件或文件夹 *。",
    "several columns could be the text: *. Pass *.": "有多列可能是文本：*。请在“文本列”中选择。",
    "several columns could be the label: *. Pass *.": "有多列可能是标签：*。请在“标签列”中选择。",
    "* of * rows cannot be used:": "*（共 * 行）无法使用：",
    'Mend them in the source, or pass on_bad="skip" to leave them out; rows.report then lists each.': (
        "请在源文件中修正，或将“无效行”设为“跳过”。"
    ),
    "Up to * % is let pass. Remove the copies from train with `rows.dedupe()`, or go on with accept_leakage=True and "
    "read the scores with that in mind.": (
        "最多允许 * %。请在“预处理”中去除重复行，或勾选“即使测试集的行出现在训练集也训练”，但得分会偏高。"
    ),
    "* rows are too few to be cut into *.": "* 行太少，无法划分为 *。",
    "no rows are left for *: *, too few or too uneven for these sizes.": "没有剩余的行可作 *：*，行数太少或分布不均。",
    "these are * numbers; the model reads *.": "输入了 * 个数值；模型需要 * 个。",
    "* is no picture that this page can read: *.": "* 不是此页面能读取的图片：*。",
    "* would be written outside of its folder.": "* 会被写到其文件夹之外，已拒绝。",
    "* is no zip file that can be unpacked: *.": "* 不是可以解压的 zip 文件：*。",
    "the zip file holds no file that labkit reads (*).": "zip 文件中没有 labkit 能读取的文件（*）。",
    "the zip file holds * files of * bytes; at most * files of * bytes are unpacked. Unpack it beside the notebook, "
    "and give the folder's path.": (
        "zip 文件含 * 个文件，共 * 字节；最多解压 * 个文件、* 字节。请在笔记本旁边解压，并填写文件夹的路径。"
    ),
    "* is of no kind that labkit reads (*).": "* 的类型 labkit 无法读取（*）。",
    "* has 0 rows: it is empty.": "* 有 0 行：文件为空。",
    "run * has no model yet*": "运行 * 尚无模型*",
    # cures of runs
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
    "OSError": "系统错误",
    "MemoryError": "内存不足",
}


def sample(name: str, about: str, language: str) -> str:
    """What a data sample is."""
    return SAMPLES.get(name, about) if language == "zh" else about


def reason(text: str, language: str) -> str:
    """What the report of loading found; what stands behind a colon is a detail and stays."""
    if language != "zh":
        return text
    head, colon, detail = text.partition(": ")
    return _whole(head, REASONS) + ("：" if colon else "") + detail


def sentences(text: str, language: str) -> str:
    """An error or a cure, as far as its sentences are known."""
    return "\n".join(map(_line, text.split("\n"))) if language == "zh" else text


def error(text: str, language: str) -> str:
    """An error as a panel shows it: its class, then what it says."""
    kind, colon, said = text.partition(": ")
    if language != "zh" or kind not in KINDS:
        return text
    return f"{KINDS[kind]} {kind}{colon}{sentences(said, language)}"


def _whole(text: str, table: Mapping[str, str]) -> str:
    """The Chinese of a text that the table has as a whole; else the text."""
    if text in table:
        return table[text]
    for english, chinese in table.items():
        if "*" in english and (found := _pattern(english).fullmatch(text)):
            return _filled(chinese, found)
    return text


def _line(text: str) -> str:
    if len(text) > _LONGEST:
        return text
    if listed := _ROWS.fullmatch(text):
        blank, why, count, rows = listed.groups()
        rows = _ROW.sub(r"第 \1 行", rows)
        return f"{blank}{reason(why, 'zh')} ({count}): {rows}"
    if (whole := _whole(text, SENTENCES)) != text:
        return whole
    for english, chinese in SENTENCES.items():
        text = _pattern(english).sub(lambda found, chinese=chinese: _filled(chinese, found), text)
    return text


#: A line with more characters stays as it is: to look for sentences in it takes time with the square of its length.
_LONGEST = 1_000
#: A line of the rows that were refused, and a row in it.
_ROWS, _ROW = re.compile(r"( +)(.+?) \(([\d,]+)\): (row .*)"), re.compile(r"\brow (\d+)")


@cache
def _pattern(english: str) -> re.Pattern[str]:
    end = r"(?=\s|$)" if english.endswith(".") else ""
    return re.compile("(.+?)".join(map(re.escape, english.split("*"))) + end, re.DOTALL)


def _filled(chinese: str, found: re.Match[str]) -> str:
    values = iter(found.groups())
    return re.sub(r"\*", lambda star: next(values, ""), chinese)
