"""Texts of the steps Train, Evaluate and Predict."""

from __future__ import annotations

from labkit.i18n import Message, _, pgettext

#: key → English text.
TABLE: dict[str, Message] = {
    "step_train": _("Train"),
    "step_evaluate": _("Evaluate"),
    "step_predict": _("Predict"),
    # Train
    "start": _("Start training"),
    "start_help": _("Start a run with this data, this model and these settings"),
    "run_name": _("Name"),
    "epochs_field": _("Epochs"),
    "batch_field": _("Batch size"),
    "rate_field": _("Learning rate"),
    "run_shown": _("Run"),
    "run_none": _("none yet"),
    "compare_with": _("Compare with"),
    "compare_with_help": _("Overlay the loss and F1 curves of other runs"),
    "train_first": _("No run yet. Choose data and a model in the previous steps, then start training."),
    "keep_best": _("Keep the best model"),
    "keep_best_help": _(
        "On: the checkpoint with the best validation score becomes the model. Off: the last checkpoint."
    ),
    "smoothing": _("Smoothing"),
    "log_scale": _("Log scale"),
    "gradient_norm": _("Gradient norm"),
    "epsilon_spent": _("ε so far (privacy)"),
    "throughput": _("Examples/s"),
    "memory_mib": _("Memory (MiB)"),
    "f1_each": _("F1 by class, validation"),
    # Evaluate
    "evaluate_on": _("Rows"),
    "evaluate_now": _("Evaluate"),
    "evaluate_now_help": _("Evaluate the newest checkpoint of the run"),
    "evaluate_first": _(
        "Nothing to evaluate yet: choose a run that has a checkpoint, or wait for its first one, then press Evaluate."
    ),
    "this_model": _("this model"),
    "try_next": _("What to try next"),
    "fitting_baselines": _("Fitting simple baselines on the same rows …"),
    "rows_evaluated": _("rows"),
    "intervals_are": _(
        "In brackets: 95 % bootstrap confidence intervals, from resampling the evaluated rows."
    ),
    "left_out": _("unlabelled rows, excluded"),
    "mae": _("Mean absolute error (MAE)"),
    "rmse": _("Root mean squared error (RMSE)"),
    "f1_micro": _("Micro-averaged F1"),
    "exact": _("Subset accuracy (all labels correct)"),
    "hamming": _("Hamming loss (wrong decisions)"),
    "mean": _("Mean"),
    "deviation": _("Standard deviation"),
    "label": _("Label"),
    "right_lm": _("Next-token accuracy"),
    "right_seq2seq": _("Target token accuracy"),
    "right_pretrain": _("Masked-token accuracy"),
    "right_qa": _("Windows with the correct span"),
    "right_embed": _("In-batch retrieval accuracy"),
    "score_perplexity": _("Perplexity"),
    "score_bits": _("Bits per token"),
    "score_ngram_loss": _("N-gram loss"),
    "score_ngram_perplexity": _("N-gram perplexity"),
    "score_masked_loss": _("Masked-token loss"),
    "score_next_loss": _("Next-sentence loss"),
    "score_next_accuracy": _("Next-sentence accuracy"),
    "score_next_f1": _("Next-sentence F1"),
    "score_exact": _("Exact match"),
    "score_f1": _("F1 (word overlap)"),
    "score_HasAns_exact": _("Exact match, answerable questions"),
    "score_HasAns_f1": _("F1 (word overlap), answerable questions"),
    "score_NoAns_exact": _("Exact match, unanswerable questions"),
    "score_NoAns_f1": _("F1 (word overlap), unanswerable questions"),
    "score_no_answer_threshold": _("No-answer threshold (chosen on the validation rows)"),
    "score_cosine": _("Mean cosine similarity of pairs"),
    "measured_lm": _(
        "Perplexity: the effective number of equally likely next tokens. It should be lower than that "
        "of the n-gram baseline, which is fitted to the training rows."
    ),
    "measured_seq2seq": _(
        "Over the target tokens, each predicted from the source and the preceding true tokens (teacher forcing)."
    ),
    "measured_pretrain": _(
        "Over the masked tokens, the same at each evaluation; with next-sentence prediction, also "
        "over whether the second passage follows the first."
    ),
    "measured_qa": _(
        "Scored by the rules of SQuAD 2.0: ignoring case, punctuation and English articles; character "
        "by character in scripts without spaces between words."
    ),
    "measured_embed": _(
        "Loss and in-batch retrieval accuracy depend on the batch size: compare only runs of equal batch size."
    ),
    "question": _("Question"),
    "answered": _("{name} (predicted)"),
    "tab_mistakes": _("Mistakes"),
    "tab_thresholds": _("Thresholds"),
    "tab_calibration": _("Calibration"),
    "tab_compare": _("Compare"),
    "tab_slices": _("Slices"),
    "tab_fairness": _("Fairness"),
    "fairness_by": _("Groups by"),
    "fairness_and": _("and by"),
    "fairness_positive": _("Positive class"),
    "fairness_goal": _("Thresholds by group"),
    "goal_none": _("none (one rule for all)"),
    "goal_demographic_parity": _("equal selection rates"),
    "goal_equal_opportunity": _("equal true positive rates"),
    "fairness_of": _("{rows} rows; predicted {positive} counts as selected."),
    "gap": _("Difference between groups"),
    "gap_demographic_parity_difference": _("Selection rate (demographic parity)"),
    "gap_demographic_parity_ratio": _(
        "Selection rate, least divided by greatest (below 0.8: four-fifths rule)"
    ),
    "gap_equalized_odds_difference": _("Equalized odds (greater gap of the two below)"),
    "gap_equal_opportunity_difference": _("True positive rate (equal opportunity)"),
    "gap_false_positive_rate_difference": _("False positive rate"),
    "gap_predictive_parity_difference": _("Positive predictive value (predictive parity)"),
    "gap_accuracy_difference": _("Accuracy"),
    "worst_group": _("Lowest accuracy: {group}."),
    "rate_accuracy": _("Accuracy"),
    "rate_selection_rate": _("Selection rate"),
    "rate_true_positive_rate": _("True positive rate"),
    "rate_false_positive_rate": _("False positive rate"),
    "rate_positive_predictive_value": _("Positive predictive value"),
    "base_rate": _("Share of positive rows"),
    "mean_probability": _("Mean probability"),
    "by_groups": _("Rates by group"),
    "thresholds_by_group": _("Thresholds by group"),
    "price_of_equality": _(
        "Thresholds chosen on the validation rows. {gap}: {before} → {after} on these rows; accuracy lost: {price} "
        "({interval})."
    ),
    "before_thresholds": _("{rate} before"),
    "after_thresholds": _("{rate} after"),
    "tab_audit": _("Privacy audit"),
    "audit_now": _("Run the audit"),
    "audit_now_help": _("Try to distinguish the training rows from these rows by the loss of the model"),
    "audit_about": _(
        "Membership inference: can the training rows be distinguished from these rows by the loss of the model? "
        "An AUROC of 0.5 is guessing. Stronger attacks, with reference runs and canaries, are in Python: run.audit()."
    ),
    "audit_auroc": _("AUROC of the attack"),
    "audit_tpr": _("True positive rate at a false positive rate of 0.01"),
    "audit_bound": _("At most, by ε = {epsilon}"),
    "audit_leaks": _(
        "The training rows can be distinguished from others better than by guessing: the model reveals something "
        "of them. More rows, fewer epochs or differential privacy reduce this."
    ),
    "audit_nothing": _("This attack distinguishes the training rows from others no better than guessing."),
    "confusion": _("Confusion matrix"),
    "confusion_hint": _("Rows: true class. Columns: predicted class. Click a cell to see its examples."),
    "truth_by_answer": _("true \\ predicted"),
    "worst": _("Worst mistakes"),
    "worst_help": _("Wrong predictions with the highest confidence"),
    "worst_mistakes": _("Worst mistakes"),
    "no_mistakes": _("No mistakes on these rows."),
    "no_examples": _("No rows."),
    "class_order": _("Order"),
    "order_class": _("as in the data"),
    "order_name": _("by class name"),
    "order_errors": _("by errors"),
    "row_of_data": _("Row"),
    "download_predictions": _("Download predictions"),
    "download_mistakes": _("Download mistakes"),
    "predicted_against_true": _("Predicted against true"),
    "true_value": _("True"),
    "predicted_value": _("Predicted"),
    "residual": _("Residual"),
    "r2_is": _("R² of {name}: {r2}"),
    "points_shown": _("{count} of the rows are shown."),
    "cell": _("True {truth}, predicted {answer}: {count}"),
    "choose_example": _("Choose an example to see its explanation."),
    "row_number": _("Row {row}"),
    "truth_and_answer": _("True: {truth}. Predicted: {answer}."),
    "explain_class": _("Explain"),
    "speaks_for": _("Evidence for and against {target}"),
    "for_it": _("for"),
    "against_it": _("against"),
    "raises_number": _("What raises and lowers {target}"),
    "raises": _("raises"),
    "lowers": _("lowers"),
    "adds_up": _(
        "Integrated gradients: the attributions sum to {total} log-odds relative to an empty example "
        "(approximation error {gap})."
    ),
    "adds_up_row": _(
        "Integrated gradients: the contributions sum to {total} log-odds relative to the average row "
        "(approximation error {gap})."
    ),
    "adds_up_number": _(
        "Integrated gradients: from {start} for an empty example by {total} to {end} (approximation error {gap})."
    ),
    "adds_up_number_row": _(
        "Integrated gradients: from {start} for the average row by {total} to {end} (approximation error {gap})."
    ),
    "feature": _("Feature"),
    "column": _("Column"),
    "missing_value": _("missing"),
    "may_be_missing": _("may be empty"),
    "yes": _("yes"),
    "no": _("no"),
    "value": _("Value"),
    "effect": _("Effect"),
    "probability": _("Probability"),
    "attention": _("Attention"),
    "attention_said": _("Attention of layer {layer} over {tokens} tokens"),
    "layer": _("Layer"),
    "head": _("Head"),
    "mean_of_heads": _("mean of all"),
    "threshold": _("Threshold"),
    "best_threshold": _("Best on validation"),
    "best_threshold_help": _("The threshold with the best F1 on the validation rows"),
    "precision": _("Precision"),
    "recall": _("Recall"),
    "false_alarms": _("False positive rate"),
    "pr_curve": _("Precision and recall"),
    "roc_area": _("Area under ROC"),
    "average_precision": _("Average precision"),
    "found_of": _("true positives, of {positives}"),
    "false_ones": _("false positives"),
    "calibration": _("Calibration"),
    "calibration_error": _("calibration error"),
    "worst_bin": _("largest gap"),
    "confidence": _("Confidence"),
    "temperature": _("temperature"),
    "error_scaled": _("calibration error at that temperature"),
    "calibration_said": _(
        "Dotted line: perfect calibration (accuracy equals confidence). Bars: number of rows."
    ),
    "temperature_said": _("Dashed curve: after temperature scaling, fitted on the validation rows."),
    "other_run": _("Other run"),
    "choose_run": _("choose a run"),
    "score": _("Score"),
    "gain": _("Difference"),
    "interval": _("Confidence interval (95 %)"),
    "better": _("{a} is better than {b}: the confidence interval of the F1 difference is above 0."),
    "worse": _("{a} is worse than {b}: the confidence interval of the F1 difference is below 0."),
    "no_difference": _(
        "No significant difference between {a} and {b} on these rows: the confidence interval contains 0."
    ),
    "mcnemar": _("Only {a} is correct on {first} rows, only {b} on {second}. McNemar's exact test: p = {p}."),
    "one_is_right": _("Rows that only one model predicts correctly"),
    "text": _("Text"),
    "truth": _("Truth"),
    "slice_by": _("Slice by"),
    "by_length": _("length of the text"),
    "slice": _("Slice"),
    "weak": _("below overall score"),
    # Use
    "use_first": _("No model yet: choose a run that has a checkpoint, or wait for its first one."),
    "open_model": _("Load the model"),
    "open_model_help": _("Load the newest checkpoint of the run"),
    "your_text": _("Text"),
    "second_text": _("Second text"),
    "your_features": pgettext("features", "Numbers"),
    "features_hint": _("{count} comma-separated numbers"),
    "predict": _("Predict"),
    "predict_help": _("Prediction with an explanation"),
    "write_on": _("Generate"),
    "write_on_help": _("Continue the text"),
    "write_target": _("Generate the target"),
    "write_target_help": _("Generate the target text from the source text"),
    "new_tokens": _("Maximum new tokens"),
    "drawn_at": _("Temperature"),
    "drawn_at_help": _("0: greedy decoding; higher: more random sampling"),
    "top_p_field": pgettext("setting", "Top-p"),
    "top_p_help": _("Sample from the most likely tokens whose probabilities sum to this. 1: no limit."),
    "beams_field": _("Beams"),
    "wrote_nothing": _("Nothing was generated: the model predicts the end of the text here."),
    "tell_hidden": _("Fill the mask"),
    "tell_hidden_help": _(
        "The most likely tokens at each [MASK]; with a second text also the probability that it follows the first"
    ),
    "hidden_hint": _("A text with {mask} in place of each token to predict"),
    "hidden_place": _("Mask {number}"),
    "it_follows": _("probability that the second text follows"),
    "no_answer": _("the paragraph contains no answer"),
    "find_answer": _("Find the answer"),
    "find_answer_help": _("Find the span of the paragraph that answers the question"),
    "paragraph": _("Paragraph"),
    "compare_texts": _("Compare"),
    "compare_texts_help": _("Cosine similarity of the text embeddings"),
    "texts_by_line": _("One per line"),
    "cosines": _("Cosine similarity"),
    "from_test": _("Example from test"),
    "from_test_help": _("Fill in a row of the test split"),
    "drop_picture": _("Drop a picture here, or choose a file"),
    "answer": _("Prediction"),
    "unsure_below": _("Unsure below"),
    "unsure_below_help": _("Predictions with a probability below this are marked as unsure. 0: none."),
    "is_unsure": _("Unsure: the probability is below {least}."),
    "answer_file_title": _("Predict for a file"),
    "answer_file": _("Choose a file"),
    "answer_file_help": _("The rows come back with predictions in additional columns"),
    "answer_file_text": _(
        "A table with the text column of the training data (CSV, Excel, JSON Lines, Parquet, TXT). It comes back "
        "with the predictions in additional columns."
    ),
    "answer_file_features": _(
        "A table with the columns of the training data (CSV, Excel, JSON Lines, Parquet). It comes back with the "
        "predictions in additional columns."
    ),
    "answer_file_image": _(
        "Several images, or a zip file of images. A table with the predictions comes back."
    ),
    "answer_file_audio": _(
        "Several WAV files, or a zip file of them. A table with the predictions comes back."
    ),
    "answer_files": _("files"),
    "output_format": _("Output format"),
    "text_of_file": _("Column of the text"),
    "answer_again": _("Predict again"),
    "answer_again_help": _("Predict again for the same file, with the present settings"),
    "answering": _("Predicting"),
    "answers_outdated": _("The settings have changed: press Predict again."),
    "answered_file": _("{file}: {rows} rows predicted."),
    "answered_unsure": _("{count} of them ({share}) are marked as unsure."),
    "rows_unread": _("{count} rows have no prediction; the column problem contains the reason. Rows {rows}"),
    "download_file": _("Download {file}"),
    "stop_writing": pgettext("generation", "Stop"),
    "stop_writing_help": _("Stop generating"),
    "export": _("Export the model"),
    "export_help": _("Export the model as a zip file: safetensors and config in Hugging Face format"),
    "with_card": _("with a model card"),
    "with_card_help": _(
        "README.md with intended use, data, licences, scores with intervals, baselines, privacy, size, speed and limits"
    ),
    "intended_use": _("Intended use"),
    "intended_use_place": _("Which decision does the model serve, and who uses it?"),
    "exported": _("Saved: {file} ({size} MB)"),
}
