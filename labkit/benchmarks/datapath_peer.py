"""The peer of ``datapath.tokenise_and_pack``: ``datasets.map`` with a fast tokenizer, then the padding collator.

Run by another interpreter: ``python datapath_peer.py TABLE TOKENIZER BATCH MAX_LENGTH``; prints JSON.
"""

import json
import sys
import time

import datasets
from transformers import BertTokenizerFast, DataCollatorWithPadding


def main(table: str, folder: str, batch: int, max_length: int) -> None:
    datasets.disable_progress_bars()
    tokenizer = BertTokenizerFast.from_pretrained(folder)
    dataset = datasets.Dataset.from_file(table)
    collate = DataCollatorWithPadding(tokenizer)
    start = time.perf_counter()
    made = dataset.map(
        lambda rows: tokenizer(rows["text"], truncation=True, max_length=max_length),
        batched=True, remove_columns=["text"], load_from_cache_file=False,
    )  # fmt: skip
    mapped = time.perf_counter() - start
    tokens = 0
    for place in range(0, len(made), batch):
        columns = made[place : place + batch]
        names = list(columns)
        found = collate(
            [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        )
        tokens += int(found["attention_mask"].sum())
    print(json.dumps({"seconds": time.perf_counter() - start, "tokenise": mapped, "tokens": tokens}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
