"""The words of the bench: what all steps have, and the steps Data, Prepare and Model."""

from __future__ import annotations

#: key → (English, Simplified Chinese).
TABLE: dict[str, tuple[str, str]] = {
    # every step
    "step_data": ("Data", "数据"),
    "step_prepare": ("Prepare", "预处理"),
    "step_model": ("Model", "模型"),
    "busy": ("Working …", "处理中……"),
    "copy_code": ("Copy code", "复制代码"),
    "copy_code_help": ("Copy a notebook cell that does the same", "复制一个效果相同的代码单元"),
    "copied": ("Copied", "已复制"),
    "copy_failed": ("Select the code below", "请在下方选择代码"),
    "code_of_step": ("Code that does the same", "效果相同的代码"),
    "save_experiment": ("Save experiment", "保存实验"),
    "save_experiment_help": (
        "Write data, model and training into a file that `labkit train` runs",
        "将数据、模型与训练写入文件，可用 `labkit train` 运行",
    ),
    "saved_as": (
        "Saved as {file}; `labkit train {file}` runs it.",
        "已保存为 {file}；可用 `labkit train {file}` 运行。",
    ),
    "download": ("Download", "下载"),
    "cure_memory": (
        "Out of memory. Take a smaller batch size, shorter texts or a smaller model.",
        "内存不足。请减小批大小、缩短文本或换用更小的模型。",
    ),
    "cure_unknown": (
        "This is not an error labkit knows. The traceback says where it arose; the panel goes on.",
        "labkit 不认识此错误。错误堆栈指出了出错位置；面板仍可继续使用。",
    ),
    "placeholder_step": ("{name}: run this cell to see the panel", "{name}：运行此单元以显示面板"),
}
