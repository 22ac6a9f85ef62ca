"""What settings, files from elsewhere, samples and the panels themselves find wrong → the same in Chinese.

The marks in the sentences are those of :mod:`labkit.panels.phrases`.
"""

from __future__ import annotations

#: Sentence → the same.
SENTENCES: dict[str, str] = {
    "the zip file holds no file that labkit reads (*).": "zip 文件中没有 labkit 能读取的文件（*）。",
    "the zip file holds * files of * bytes; at most * files of * bytes are unpacked. Unpack it beside the "
    "notebook, and give the folder's path.": (
        "zip 文件含 * 个文件，共 * 字节；最多解压 * 个文件、* 字节。请在笔记本旁边解压，并填写文件夹的路径。"
    ),
    "the zip file holds * twice.": "zip 文件中 * 出现了两次。",
    "* is no zip file that can be unpacked: *.": "* 不是可以解压的 zip 文件：*。",
    "* cannot be unpacked here: *.": "* 无法在此解压：*。",
    "* = * is a *; it must be *.": "§ = * 的类型是 *；应为 *。",
    "* = * does not fit.": "§ = * 不合要求。",
    "* must be a table of settings, not *.": "* 应为一组设置，而不是 *。",
    "* lacks the setting *.": "* 缺少设置 *。",
    "not valid TOML: *. Compare with the text that `run.toml()` gives.": (
        "不是有效的 TOML：*。请与 `run.toml()` 给出的文本对照。"
    ),
    "* has no setting *.* It has: *.": "* 没有设置 *。†可用的有：*。",
    "* takes * settings at most, not *.": "* 最多接受 * 项设置，而不是 * 项。",
    "* = * has * values; it must have *.": "§ = * 有 * 个值；应有 * 个。",
    "* = * is not one of *.*": "§ = * 不在可选值之内：*。†",
    "* = * is below its least value, *.": "§ = * 低于最小值 *。",
    "* is not the name of an argument.": "* 不是参数名。",
    "a value of type * cannot be written as Python code.": "类型为 * 的值无法写成 Python 代码。",
    "* is outside of its folder.": "* 位于其文件夹之外。",
    "* is not UTF-8 text (byte *). Save it as UTF-8.": "* 不是 UTF-8 文本（第 * 字节）。请另存为 UTF-8。",
    "* holds characters that UTF-8 cannot represent. Rename the file or column.": (
        "* 含有 UTF-8 无法表示的字符。请重命名该文件或列。"
    ),
    "* = * is above its greatest value, *.": "§ = * 高于最大值 *。",
    "seed = *; it must be a whole number from 0 to *.": "seed = *；它必须是 0 到 * 之间的整数。",
    "this ar archive holds no data.tar: damaged, or no package of Debian": (
        "此 ar 归档中没有 data.tar：已损坏，或不是 Debian 软件包"
    ),
    "* did not arrive": "* 未能下载",
    "* has SHA-256 *, not *: damaged, or not that file": "* 的 SHA-256 为 *，而不是 *：已损坏，或不是该文件",
    "this Python has no pip; `python -m ensurepip` brings it": "此 Python 没有 pip；可用 `python -m ensurepip` 安装",
    "npm is not installed; it comes with Node.js": "尚未安装 npm；它随 Node.js 提供",
    "there is no apt-get here, as Debian has it; *, downloaded elsewhere, can lie in a folder named by "
    "LABKIT_SAMPLES": ("此处没有 Debian 的 apt-get；可在别处下载 *，放入 LABKIT_SAMPLES 所指的文件夹"),
    "the package * is not installed": "未安装软件包 *",
    "* is not there": "* 不存在",
    "* is larger than the * bytes it should have": "* 大于应有的 * 字节",
    "* would be written outside of its folder.": "* 会被写到其文件夹之外，已拒绝。",
    "* is damaged or not safetensors: * bytes for tensors of *.": (
        "* 已损坏或不是 safetensors：有 * 字节，而张量为 * 字节。"
    ),
    "*: the tensor * has an impossible shape or place.": "*：张量 * 的形状或位置不可能成立。",
    "*: the tensor * has * bytes, which are not its shape's.": "*：张量 * 有 * 字节，与其形状不符。",
    "* cannot be the id of a run: a-z, 0-9, '.', '_' and '-', 64 at most.": (
        "* 不能作为运行编号：只可用 a-z、0-9、“.”、“_”和“-”，最多 64 个字符。"
    ),
    "the name *… has * characters; at most *.": "名称 *… 有 * 个字符；最多 * 个。",
    "the name * holds the control character *; leave it out.": "名称 * 含有控制字符 *；请去掉。",
    "* is damaged or not safetensors: it ends within its header.": (
        "* 已损坏或不是 safetensors：文件在头部之内就结束了。"
    ),
    "*: its header has * bytes; at most * are read.": "*：头部有 * 字节；最多读取 * 字节。",
    "* holds * tensors; at most * are read.": "* 含 * 个张量；最多读取 * 个。",
    "* is damaged or not safetensors: its header cannot be read (*).": (
        "* 已损坏或不是 safetensors：无法读取头部（*）。"
    ),
    "* is damaged or not safetensors: its tensors overlap or leave gaps at byte *.": (
        "* 已损坏或不是 safetensors：张量在第 * 字节处重叠或留有空隙。"
    ),
    "* is not a registered *. Known: *.": "* 不是已注册的†。可用的有：*。",
    "unknown * *.* Known: *.": "未知的† *。†可用的有：*。",
    "sample * (*) is not in the cache, and no source gave it:": "示例 *（*）不在缓存中，所有来源都未能提供：",
    "Where there is a network, this fills the cache: labkit samples fetch *": (
        "在有网络的机器上，可用此命令填充缓存：labkit samples fetch *"
    ),
    "unknown sample *.* Known: *.": "未知的示例 *。†可用的有：*。",
    "the package * is needed once, to convert it: pip install 'labkit[convert]'": (
        "转换时需要一次软件包 *：pip install 'labkit[convert]'"
    ),
    "not the expected content: *": "内容与预期不符：*",
    "the * * cannot be written: *. Set * to a folder that you can write.": (
        "† * 无法写入：†。请将环境变量 * 设为可以写入的文件夹。"
    ),
    "* cannot be written: *.": "* 无法写入：†。",
    "the cache cannot be written: *. LABKIT_CACHE names another folder for it.": (
        "无法写入缓存：*。可用 LABKIT_CACHE 指定另一文件夹。"
    ),
    "* is redirected more than * times.": "* 的重定向超过 * 次。",
    "LABKIT_OFFLINE forbids the network, so * cannot be fetched.": "LABKIT_OFFLINE 禁止使用网络，因此无法获取 *。",
    "*: only addresses of the form https://host/file are read.": "*：只读取 https://主机/文件 形式的地址。",
    "* leads to *, which is this machine or a private network; only the open internet is read. Download the file "
    "yourself and give its path.": ("* 指向 *，即本机或内部网络；只读取公开的互联网。请自行下载文件并填写其路径。"),
    "the host * is not found: *. Where the network has a proxy, set HTTPS_PROXY to it.": (
        "找不到主机 *：*。若网络需要代理，请将环境变量 HTTPS_PROXY 设为代理的地址。"
    ),
    "the host * has no address.": "主机 * 没有地址。",
    "the proxy * of the environment (HTTPS_PROXY) must be of the form http://host:port.": (
        "环境变量（HTTPS_PROXY）中的代理 * 应为 http://主机:端口 的形式。"
    ),
    "* answers * *.": "* 的应答为 * *。",
    "* cannot be fetched*: *.": "无法获取 *†：*。",
    "* is larger than * bytes.": "* 大于 * 字节。",
    "* takes longer than it may.": "* 超过了允许的时间。",
    "the rows were made in Python and are gone with the kernel: give them again.": (
        "数据是用 Python 创建的，已随内核消失：请重新提供。"
    ),
    "no model was chosen yet: do so in the step Model.": "尚未选择模型：请在“模型”步骤中选择。",
    "there are no rows yet: choose some in the step Data.": "尚无数据：请先在“数据”步骤中选择。",
    "these are * numbers; the model reads *.": "输入了 * 个数值；模型需要 * 个。",
    "* is no picture that this page can read: *.": "* 不是此页面能读取的图片：*。",
    "*: give * numbers with commas between them.": "†：请给出 * 个以逗号分隔的数值。",
    "no words in language *; there are *.": "没有语言 * 的文字；可用的有 *。",
    " Did you mean *?": "是否指 *？",
    ": not tried, LABKIT_OFFLINE forbids the network": "：未尝试，LABKIT_OFFLINE 禁止使用网络",
    " (LABKIT_SAMPLES): has no *": "（LABKIT_SAMPLES）：其中没有 *",
    "no connection to the package index; pip says: ": "无法连接软件包索引；pip 的说明：",
    "* ended with code *": "* 以代码 * 结束",
    "* is damaged or of an unsupported kind: the tensor * has the dtype *; supported: *.": (
        "* 已损坏或类型不受支持：张量 * 的数据类型为 *；支持的有：*。"
    ),
    "* has * bytes; a file of settings has at most *.": ("* 有 * 字节；设置文件最多 * 字节。"),
    "* is a named pipe, a socket or a device, not a file. Copy what it gives into a file.": (
        "* 是命名管道、套接字或设备，不是文件。请把其内容复制到文件中。"
    ),
    "* is not UTF-8 text (*). Fetch or copy it again.": ("* 不是 UTF-8 文本（*）。请重新获取或复制。"),
}
