// Reads tokenizer.json as the library `tokenizers` does: BERT and byte-level tokenizers, WordPiece and BPE.
"use strict";
function makeTokenizer(file, maxLength) {
  const SPACE = "\\t-\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
  const space = new RegExp(`[${SPACE}]`, "u");
  const dropped = /[\p{Cc}\p{Cf}\p{Co}]/u;
  const mark = /\p{Mn}/u;
  const punctuation = /[!-\/:-@[-`{-~\p{P}]/u;
  const pieces = new RegExp(
    `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^${SPACE}\\p{L}\\p{N}]+|[${SPACE}]+(?![^${SPACE}])|[${SPACE}]+`, "gu");
  const CHINESE = [[0x4e00, 0x9fff], [0x3400, 0x4dbf], [0x20000, 0x2a6df], [0x2a700, 0x2b73f], [0x2b740, 0x2b81f],
    [0x2b920, 0x2ceaf], [0xf900, 0xfaff], [0x2f800, 0x2fa1f]];
  const isChinese = (char) => {
    const code = char.codePointAt(0);
    return CHINESE.some(([low, high]) => code >= low && code <= high);
  };
  const lower = (text) => Array.from(text, (char) => char.toLowerCase()).join("");
  const unaccented = (text) => Array.from(text).filter((char) => !mark.test(char)).join("");

  function normalized(text, how) {
    if (!how) return text;
    switch (how.type) {
      case "Sequence": return how.normalizers.reduce(normalized, text);
      case "NFC": case "NFD": case "NFKC": case "NFKD": return text.normalize(how.type);
      case "Lowercase": return lower(text);
      case "StripAccents": return unaccented(text);
      case "Prepend": return text ? how.prepend + text : text;
      case "Replace": return text.split(how.pattern.String).join(how.content);
      case "BertNormalizer": {
        let chars = Array.from(text);
        if (how.clean_text) {
          chars = chars.filter((c) => c === "\t" || c === "\n" || c === "\r" || !(c === "\ufffd" || dropped.test(c)))
            .map((c) => (space.test(c) ? " " : c));
        }
        if (how.handle_chinese_chars) chars = chars.map((c) => (isChinese(c) ? ` ${c} ` : c));
        let made = chars.join("");
        if (how.strip_accents === null ? how.lowercase : how.strip_accents) made = unaccented(made.normalize("NFD"));
        return how.lowercase ? lower(made) : made;
      }
    }
    throw new Error(`normalizer ${how.type}`);
  }

  // Printable characters that stand for the 256 bytes.
  const printable = (() => {
    const found = [];
    let next = 256;
    for (let byte = 0; byte < 256; byte += 1) {
      const own = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
      found.push(String.fromCodePoint(own ? byte : next));
      if (!own) next += 1;
    }
    return found;
  })();
  const encoder = new TextEncoder();

  function words(parts, how, first) {
    if (!how) return parts;
    switch (how.type) {
      case "Sequence": return how.pretokenizers.reduce((found, each) => words(found, each, first), parts);
      case "WhitespaceSplit":
        return parts.flatMap((part) => part.split(new RegExp(`[${SPACE}]+`, "u")).filter(Boolean));
      case "BertPreTokenizer":
        return parts.flatMap((part) => {
          const found = [];
          let word = "";
          for (const char of part) {
            const apart = punctuation.test(char);
            if (apart || space.test(char)) {
              if (word) found.push(word);
              word = "";
              if (apart) found.push(char);
            } else word += char;
          }
          return word ? [...found, word] : found;
        });
      case "ByteLevel":
        return parts.flatMap((part) => {
          const text = how.add_prefix_space && !space.test(part[0] || " ") ? ` ${part}` : part;
          const found = how.use_regex === false ? [text] : text.match(pieces) || [];
          return found.map((word) => Array.from(encoder.encode(word), (byte) => printable[byte]).join(""));
        });
    }
    throw new Error(`pre-tokenizer ${how.type}`);
  }

  const model = file.model;
  const vocabulary = new Map(Object.entries(model.vocab));
  const ranks = new Map((model.merges || []).map((pair, rank) =>
    [Array.isArray(pair) ? pair.join("\n") : pair.replace(" ", "\n"), rank]));
  const unknown = vocabulary.get(model.unk_token);

  function wordPiece(word) {
    const chars = Array.from(word);
    if (chars.length > model.max_input_chars_per_word) return [unknown];
    const found = [];
    for (let start = 0; start < chars.length;) {
      let end = chars.length;
      let id;
      for (; end > start; end -= 1) {
        id = vocabulary.get((start ? model.continuing_subword_prefix : "") + chars.slice(start, end).join(""));
        if (id !== undefined) break;
      }
      if (end === start) return [unknown];
      found.push(id);
      start = end;
    }
    return found;
  }

  function bytePair(word) {
    const parts = Array.from(word);
    for (;;) {
      let best = Infinity;
      let place = -1;
      for (let i = 0; i + 1 < parts.length; i += 1) {
        const rank = ranks.get(`${parts[i]}\n${parts[i + 1]}`);
        if (rank !== undefined && rank < best) [best, place] = [rank, i];
      }
      if (place < 0) break;
      parts.splice(place, 2, parts[place] + parts[place + 1]);
    }
    return parts.map((part) => vocabulary.get(part) ?? unknown).filter((id) => id !== undefined);
  }

  const idsOf = model.type === "WordPiece" ? wordPiece : bytePair;
  // Special tokens that stand in a text are text, as labkit reads them; they come in by the post-processor.
  const added = (file.added_tokens || []).filter((each) => !each.special)
    .sort((a, b) => b.content.length - a.content.length);

  // A text between and at added tokens: [[text, id or null], ...].
  function parted(text) {
    const found = [];
    let begun = 0;
    for (let at = 0; at < text.length;) {
      const hit = added.find((each) => text.startsWith(each.content, at));
      if (!hit) { at += 1; continue; }
      let [start, end] = [at, at + hit.content.length];
      if (hit.lstrip) while (start > begun && space.test(text[start - 1])) start -= 1;
      if (hit.rstrip) while (end < text.length && space.test(text[end])) end += 1;
      if (start > begun) found.push([text.slice(begun, start), null]);
      found.push([hit.content, hit.id]);
      begun = at = end;
    }
    if (begun < text.length) found.push([text.slice(begun), null]);
    return found;
  }

  const plain = (text) => parted(text).flatMap(([part, id], place) =>
    (id === null ? words([normalized(part, file.normalizer)], file.pre_tokenizer, !place).flatMap(idsOf) : [id]));

  // [type of token, id] of a row by the post-processor; A and B are the texts.
  function template(pair) {
    const processors = [file.post_processor].flatMap((each) =>
      (each && each.type === "Sequence" ? each.processors : [each])).filter((each) => each && each.type !== "ByteLevel");
    const how = processors[0];
    if (!how) return pair ? [["A", 0], ["B", 0]] : [["A", 0]];
    if (how.type === "TemplateProcessing") {
      return (pair ? how.pair : how.single).flatMap((each) => (each.Sequence
        ? [[each.Sequence.id, each.Sequence.type_id]]
        : how.special_tokens[each.SpecialToken.id].ids.map((id) => [id, each.SpecialToken.type_id])));
    }
    const [cls, sep] = [how.cls[1], how.sep[1]];
    const single = [[cls, 0], ["A", 0], [sep, 0]];
    if (!pair) return single;
    return how.type === "RobertaProcessing"
      ? [...single, [sep, 0], ["B", 0], [sep, 0]] : [...single, ["B", 1], [sep, 1]];
  }

  function truncated(first, second, room) {
    if (second === null) return [first.slice(0, room), null];
    let [short, long] = [Math.min(first.length, second.length), Math.max(first.length, second.length)];
    if (short + long > room) {
      long = short > room ? short : Math.max(short, room - short);
      if (short + long > room) [short, long] = [Math.floor(room / 2), Math.floor(room / 2) + (room % 2)];
    }
    return first.length > second.length
      ? [first.slice(0, long), second.slice(0, short)] : [first.slice(0, short), second.slice(0, long)];
  }

  return (text, pair = null) => {
    const form = template(pair !== null);
    const room = maxLength - form.filter(([what]) => typeof what === "number").length;
    const [first, second] = truncated(plain(text), pair === null ? null : plain(pair), room);
    const found = { ids: [], types: [] };
    for (const [what, type] of form) {
      const ids = what === "A" ? first : what === "B" ? second : [what];
      found.ids.push(...ids);
      found.types.push(...ids.map(() => type));
    }
    return found;
  };
}
