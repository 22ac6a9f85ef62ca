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
    "iou_each": _("IoU by class, validation"),
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
    "cer": _("Character error rate (CER)"),
    "wer": _("Word error rate (WER)"),
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
    "right_instruct": _("Response-token accuracy"),
    "score_untuned_loss": _("Loss before the tuning"),
    "score_loss_gain": _("Loss reduction by the tuning"),
    "right_tag": _("Words with the correct tag"),
    "score_entity_precision": _("Entity precision"),
    "score_entity_recall": _("Entity recall"),
    "score_entity_f1": _("Entity F1"),
    "score_baseline_accuracy": _("Accuracy of the most frequent tag of each word"),
    "score_baseline_entity_f1": _("Entity F1 of the most frequent tag of each word"),
    "score_accuracy_gain": _("Accuracy gain on that baseline"),
    "score_entity_f1_gain": _("Entity F1 gain on that baseline"),
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
    "score_mase": _("Error ÷ seasonal naive error in training (MASE)"),
    "score_mae": _("Mean absolute error (MAE)"),
    "score_rmse": _("Root mean squared error (RMSE)"),
    "score_smape": _("Symmetric relative error (sMAPE, 0 to 2)"),
    "score_pinball": _("Pinball loss of the quantiles"),
    "score_coverage": _("Values within the {nominal} range"),
    "mase": _("MASE"),
    "ndcg": _("NDCG@10"),
    "users": _("users"),
    "user": _("User"),
    "catalogue_size": _("items of the catalogue"),
    "rank": _("Rank"),
    "title": _("Title"),
    "item": _("Item"),
    "chosen_items": _("Chosen items"),
    "recommend_on": _("Recommend"),
    "recommend_on_help": _("The items that come next after these, one a line, or after those of a user"),
    "score_ndcg": _("NDCG@10"),
    "score_hit": _("A wanted item among the first 10"),
    "score_recall": _("Wanted items among the first 10"),
    "score_mrr": _("1 ÷ rank of the first wanted item (MRR)"),
    "score_coverage_items": _("Items that are recommended to somebody"),
    "recommend_intervals": _(
        "All items are ranked for each of {users} users; in brackets bootstrap intervals (95 %), from resampling users."
    ),
    "generate_images_on": _("Generate"),
    "generate_images_on_help": _("New pictures of a class, from noise"),
    "every_class": _("all classes in turn"),
    "pictures": _("Pictures"),
    "sampling_steps": _("Steps"),
    "guidance": _("Guidance"),
    "download_pictures": _("Download the pictures"),
    "from_noise": _("From noise to the first picture"),
    "segment_on": _("Segment"),
    "segment_on_help": _("The class of every pixel of a picture"),
    "choose_picture": _("Choose a picture"),
    "picture": _("picture"),
    "picture_row": _("row {row}"),
    "unsure_pixels": _("light: unsure"),
    "download_mask": _("Download the mask (PNG)"),
    "score_miou_pixels": _("Mean IoU"),
    "score_accuracy_pixels": _("Pixels with the correct class"),
    "score_boundary_f1_pixels": _("F1 of the boundaries"),
    "segment_intervals": _(
        "IoU: intersection ÷ union of the predicted and the true pixels of a class. In brackets: bootstrap intervals "
        "(95 %), from resampling {pictures} pictures."
    ),
    "worst_pictures": _("Pictures with the fewest correct pixels"),
    "pixels_by_class": _("Pixels by true and predicted class"),
    "pixels_in": _("Share of pixels by class, in {pictures} pictures"),
    "origins": _("forecasts"),
    "forecast_intervals": _(
        "In brackets: bootstrap intervals (95 %), from resampling blocks of {block} successive forecasts. Baseline "
        "and MASE: "
    ),
    "error_by_step": _("Errors by step"),
    "error_by_series": _("Errors by series"),
    "forecast_examples": _("Forecasts and what came"),
    "forecast_colours": _("Orange: the forecast and its {range} range; green: what came."),
    "forecast_median": _("forecast"),
    "past": _("past"),
    "time": _("Time"),
    "series": _("Series"),
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
    "measured_instruct": _(
        "Over the tokens of the responses. Intervals by conversation; the reduction is that from the pretrained model, "
        "on the same responses."
    ),
    "measured_tag": _(
        "Over all words; an entity is correct if its words and its type are. Intervals by sentence; the gain is "
        "computed on the same sentences for both."
    ),
    "measured_asr": _(
        "Loss in nats per character. Error rates: substitutions, deletions and insertions of greedy decoding, divided "
        "by the length of what was said; intervals by sound."
    ),
    "error_rates": _("Error rates beside baselines"),
    "frequent_transcript": _("most frequent transcript"),
    "nearest_recording": _("nearest training recording"),
    "sounds_evaluated": _("Sounds"),
    "sounds_sampled": _("Scored on a random sample of {count} of {rows} sounds."),
    "speech_better": _(
        "Better than the {system}: the character error rate is {gain} lower (95%: {low} to {high})."
    ),
    "speech_worse": _(
        "Worse than the {system}: the character error rate differs by {gain} (95%: {low} to {high})."
    ),
    "speech_equal": _(
        "No clear difference from the {system}: the character error rate differs by {gain} (95%: {low} to {high})."
    ),
    "kinds_of_errors": _("Kinds of errors"),
    "edits_counted": _(
        "{substitutions} substitutions, {deletions} deletions and {insertions} insertions in {length} characters."
    ),
    "kind_of_error": _("Kind"),
    "edit_substitution": _("substitution"),
    "edit_deletion": _("deletion"),
    "edit_insertion": _("insertion"),
    "aligned": _("Aligned"),
    "edits_legend": _(
        "Marked: substitution (said → recognised); struck through: deletion; underlined: insertion."
    ),
    "nothing_recognised": _("nothing recognised"),
    "frames_of_sound": _("Log-mel spectrogram of {seconds} s, low frequencies at the bottom"),
    "transcript": _("Transcript"),
    "measured_qa": _(
        "Scored by the rules of SQuAD 2.0: ignoring case, punctuation and English articles; character "
        "by character in scripts without spaces between words."
    ),
    "measured_embed": _(
        "Loss and in-batch retrieval accuracy depend on the batch size: compare only runs of equal batch size."
    ),
    "translation_scores": _("Translations compared with the references"),
    "chrf": _("chrF++ score"),
    "bleu": _("BLEU score"),
    "system": _("System"),
    "source_text": _("Source"),
    "translation_memory": _("translation memory (most similar training source)"),
    "gain_of_model": _("Gain of the model"),
    "part_all": _("all rows"),
    "part_new": _("sources that do not occur in train"),
    "memory_better": _(
        "On {part}, chrF++ is higher than that of the translation memory by {gain} ({low} to {high})."
    ),
    "memory_worse": _(
        "On {part}, the translation memory has the higher chrF++: difference {gain} ({low} to {high})."
    ),
    "memory_equal": _(
        "On {part}, chrF++ does not differ significantly from that of the translation memory: {gain} "
        "({low} to {high})."
    ),
    "sources_in_train": _("{count} of {rows} sources also occur in the training split."),
    "translations_sampled": _("Scored on a random sample of {count} of {rows} rows."),
    "question": _("Question"),
    "answered": _("{name} (predicted)"),
    "tab_mistakes": _("Mistakes"),
    "tab_smaller": _("Smaller"),
    "tab_challenge": _("New rows"),
    "smaller_about": _(
        "A smaller form of this model, judged on the same rows. Quantised weights save memory, a pruned or distilled "
        "model saves time too."
    ),
    "way_quantize": _("Quantise"),
    "way_quantize_help": _("Weights of 8 or 4 bits"),
    "way_prune": _("Prune"),
    "way_prune_help": _("Without the least important attention heads and feed-forward units"),
    "way_distill": _("Distil"),
    "way_distill_help": _("Train a smaller model towards the answers of this one"),
    "bits": _("Weights"),
    "heads_removed": _("Heads removed"),
    "units_removed": _("Units removed"),
    "more_texts": _("Texts without labels"),
    "student": _("Student"),
    "save_in": _("New folder"),
    "make_smaller": _("Make it"),
    "make_smaller_help": _("Make the smaller model and judge it on the same rows"),
    "smaller_model": _("smaller model"),
    "no_folder": _("Name a new folder for the model."),
    "new_rows": _("New rows (file)"),
    "untouched": _("Untouched share"),
    "challenge_about": _(
        "Retrain with new rows: a part of them stays untouched, and both models are compared on it. New rows that the "
        "earlier data have already are left out."
    ),
    "warm_start": _("Start from the champion's weights"),
    "warm_start_help": _(
        "Continue training the present model instead of starting again from pretrained or random weights"
    ),
    "challenge_now": _("Retrain and compare"),
    "challenge_now_help": _("Train a challenger on old and new rows with the same settings"),
    "study_about": _(
        "Train several models on the same rows, leave poor ones early, and find the smallest that is good enough. "
        "Baselines take part."
    ),
    "add_candidate": _("Add the model of the step Model"),
    "add_candidate_help": _("Add the model with its settings as a candidate"),
    "clear_candidates": _("Clear"),
    "clear_candidates_help": _("Remove the candidates that were added"),
    "more_models": _("Further models"),
    "budget_minutes": _("Minutes of training"),
    "start_study": _("Start comparing"),
    "start_study_help": _("Train the candidates in turn, at most for these minutes"),
    "take_choice": _("Use the chosen model"),
    "take_choice_help": _("Evaluate and predict with the run that the study chose"),
    "tab_thresholds": _("Thresholds"),
    "tab_calibration": _("Calibration"),
    "tab_compare": _("Compare"),
    "tab_slices": _("Slices"),
    "tab_fairness": _("Fairness"),
    "tab_diagnostics": _("Diagnostics"),
    "specificity": _("At specificity"),
    "diagnostic_auroc": _("AUROC"),
    "diagnostic_auprc": _("Average precision (AUPRC)"),
    "diagnostic_brier": _("Brier score"),
    "diagnostic_sensitivity": _("Sensitivity at specificity {specificity}"),
    "diagnostic_rows": _("{positives} of {rows} rows are of class {name}."),
    "diagnostic_gain": _("AUROC gain of the model"),
    "decision_curve": _("Decision curve"),
    "threshold_probability": _("Threshold probability"),
    "net_benefit": _("Net benefit"),
    "treat_all": _("treat all"),
    "treat_none": _("treat none"),
    "net_benefit_said": _(
        "Net benefit at threshold t: share of true positives minus share of false positives × t / (1 − t). A model "
        "is useful at the thresholds where its curve is above those of treating all and none. Dotted around the "
        "model: its confidence interval."
    ),
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
    "explain_method": _("Method"),
    "method_integrated": _("Integrated gradients"),
    "method_occlusion": _("Occlusion"),
    "method_gradient": _("Gradient"),
    "method_gradcam": _("Regions (Grad-CAM)"),
    "gradcam_about": _(
        "Grad-CAM: regions of the last convolution that raise the score of the class. It is coarse."
    ),
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
    "cross_attention_said": _("Cross-attention of decoder layer {layer} to {tokens} source tokens"),
    "cross_attention": _("Cross-attention"),
    "cross_attention_help": _(
        "Rows: target tokens. Columns: source tokens. The darker a cell, the more attention with which the target "
        "token was predicted; mean of all heads."
    ),
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
    "send_message": pgettext("chat", "Send"),
    "send_message_help": _("Send the message; the answer is shown while it is generated"),
    "your_message": pgettext("chat", "Message"),
    "system_message": _("System message"),
    "system_message_place": _("optional: how the model should answer; empty: that of its chat template"),
    "new_chat": _("New conversation"),
    "new_chat_help": _("Start a new conversation"),
    "role_user": pgettext("chat", "You"),
    "role_assistant": pgettext("chat", "Model"),
    "role_system": pgettext("chat", "System"),
    "wrote_no_answer": _("empty answer"),
    "step_chat": pgettext("step", "Chat"),
    "chat_model": _("Chat model"),
    "chat_model_place": _("a sample, a folder of a trained model, or org/name@revision"),
    "open_chat": _("Open the model"),
    "open_chat_help": _("Load the model; a sample is downloaded on first use"),
    "chat_first": _("Open a chat model to talk to it."),
    "chat_has": _("{name}: {parameters} parameters. It was trained on text, and its answers can be wrong."),
    "write_target": _("Generate the target"),
    "write_target_help": _("Generate the target text from the source text"),
    "new_tokens": _("Maximum new tokens"),
    "drawn_at": _("Temperature"),
    "drawn_at_help": _("0: greedy decoding; higher: more random sampling"),
    "top_p_field": pgettext("setting", "Top-p"),
    "top_p_help": _("Sample from the most likely tokens whose probabilities sum to this. 1: no limit."),
    "beams_field": _("Beams"),
    "length_penalty_field": _("Length penalty"),
    "length_penalty_help": _("Beam search: greater than 1 favours longer texts"),
    "forecast_on": _("Forecast"),
    "forecast_on_help": _("The next steps after the end of the series"),
    "transcribe_sound": _("Transcribe"),
    "transcribe_sound_help": _("Transcribe the sound"),
    "record": _("Record"),
    "recording": _("recording"),
    "microphone": _("microphone"),
    "sound_file": _("or a sound file"),
    "beam_search": _("Beam search"),
    "beam_search_help": _(
        "Prefix beam search with a language model of the training transcripts; otherwise greedy"
    ),
    "past_table": _("Table with the past"),
    "past_of_run": _("path of a file; empty: the rows of this run"),
    "download_forecast": _("Download the forecast (CSV)"),
    "wrote_nothing": _("Nothing was generated: the model predicts the end of the text here."),
    "tell_hidden": _("Fill the mask"),
    "tell_hidden_help": _(
        "The most likely tokens at each [MASK]; with a second text also the probability that it follows the first"
    ),
    "hidden_hint": _("A text with {mask} in place of each token to predict"),
    "hidden_place": _("Mask {number}"),
    "it_follows": _("probability that the second text follows"),
    "no_answer": _("the paragraph contains no answer"),
    "tag_words": _("Tag the words"),
    "tag_words_help": _("Give every word a tag; entities are highlighted"),
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
    "formats": _("Format"),
    "formats_help": _(
        "Files beside the weights; each is checked against the model on 100 rows before it is written"
    ),
    "format_weights": _("weights only"),
    "format_onnx": _("ONNX"),
    "format_int8": _("ONNX with int8 weights"),
    "format_stablehlo": _("StableHLO (JAX)"),
    "format_page": _("web page that works offline"),
    "with_card": _("with a model card"),
    "with_card_help": _(
        "README.md with intended use, data, licences, scores with intervals, baselines, privacy, size, speed and limits"
    ),
    "intended_use": _("Intended use"),
    "intended_use_place": _("Which decision does the model serve, and who uses it?"),
    "exported": _("Saved: {file} ({size} MB)"),
    # Search
    "step_search": _("Search"),
    "texts_folder": _("Folder of texts"),
    "encoder_field": _("Encoder"),
    "encoder_english": _("English (minilm-l6)"),
    "encoder_multilingual": _("100 languages (e5-small)"),
    "search_encoder_none": _("none, BM25 only"),
    "make_index": _("Index the texts"),
    "make_index_help": _("Read the .txt, .md and .pdf files of the folder, or open a saved index"),
    "query": _("Query or question"),
    "method_field": _("Method"),
    "method_hybrid": _("hybrid: words and meaning"),
    "method_embeddings": _("meaning (embeddings)"),
    "method_bm25": _("words (BM25)"),
    "search_now": pgettext("action", "Search"),
    "search_now_help": _("The passages that fit best"),
    "ask_now": _("Answer"),
    "ask_now_help": _(
        "A small language model (smollm2-135m, English) reads the best passages and answers; check the cited passage"
    ),
    "index_first": _("Nothing to search yet: give a folder with .txt, .md or .pdf files, or a saved index."),
    "index_has": _("{passages} passages of {sources} sources"),
    "left_out_files": _("Left out: {count}"),
    "nothing_found": _("Nothing was found."),
    "answer_evidence": _(
        "Evidence {evidence}, threshold {threshold}; words of the answer that occur in the passages: {support}"
    ),
    "not_calibrated": _(
        "The threshold is not calibrated: every question is answered. In Python: "
        "index.calibrate(answerable, unanswerable)."
    ),
    "pdf_page": _("page {page}"),
    "cited": _("cited"),
}
