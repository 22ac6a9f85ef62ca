"""The exercises of the course, by the numbers of lesson and exercise; :func:`labkit.check` judges them."""

from __future__ import annotations

from labkit.lesson import Exercise, computes, equals

EXERCISES: dict[str, Exercise] = {
    # 00 the tour
    "00.1": Exercise(
        equals(2400),
        "validation and test together take 20 %; the model learns on the rest.",
        "验证集和测试集一共占 20%，模型在剩下的行上学习。",
    ),
    "00.2": Exercise(
        computes(((0.9, 0.6, 200), 60), ((0.5, 0.5, 80), 0), ((0.25, 0.5, 100), -25)),
        "an accuracy is a share of the rows; times n it is a number of rows.",
        "准确率是答对的行所占的比例；乘以 n 就是行数。",
    ),
    # 02 the mathematics
    "02.1": Exercise(
        computes(((0.0,), 1.0), ((0.5,), 0.75), ((-0.8,), 0.36)),
        "the quotient rule gives 1 - ((e^a - e^-a) / (e^a + e^-a))^2.",
        "用商的求导法则，可得 1 - ((e^a - e^-a) / (e^a + e^-a))^2。",
    ),
    "02.2": Exercise(
        equals(64 * 32 + 32 + 32 * 10 + 10),
        "a layer has inputs times neurons weights, and one bias a neuron.",
        "一层有 输入数 × 神经元数 个权重，另外每个神经元有一个偏置。",
    ),
    "02.3": Exercise(
        computes(((1.0, 2.0, 0.5, 0.1, 0.9), 0.77), ((0.0, -1.0, 1.0, 0.5, 0.0), -0.5)),
        "first the new velocity, mu times the old one plus the gradient; then the weights go rate times that way down.",
        "先算新的速度：mu 乘旧速度再加梯度；然后权重减去学习率乘这个速度。",
    ),
}
