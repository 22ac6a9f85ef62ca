"""BERT and its relatives: model, pretraining heads, layouts of stored weights."""
