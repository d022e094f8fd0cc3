"""Retrieval over Markdown files: sections, passages, BM25.

Pure besides load(), which reads the files.  No model takes part: an answer is
made of passages as they stand in the documentation.

The ranking is Okapi BM25 as in S. Robertson and H. Zaragoza, "The Probabilistic
Relevance Framework: BM25 and Beyond" (2009), with the inverse document
frequency inside ln(1 + x), so that it is never negative.  A word of a heading
counts as HEADING words of the text, the simple form of their weighted fields.
"""

import collections
import math
import os
import re

K1 = 1.2                    # saturation of repeated words
B = 0.75                    # how much length counts
HEADING = 3                 # weight of a word in a heading
PASSAGE = 180               # words; longer sections are split at paragraphs
FILE_MAX = 4 << 20          # bytes of one file

WORD = re.compile(r"[a-z0-9_]+")
STOP = frozenset("a an and are as at be by can do does for from how i in is it "
                 "its me my of on or please tell that the there this to was "
                 "what when where which who why will with you your".split())

Passage = collections.namedtuple("Passage", "file heading text")


def words(text):
    """The search words of a text: lower case, plural s dropped; a name with
    underscores counts whole and in its parts."""
    found = []
    for word in WORD.findall(text.lower()):
        parts = [word] + (word.split("_") if "_" in word else [])
        for part in parts:
            if len(part) > 3 and part.endswith("s") \
                    and not part.endswith("ss"):
                part = part[:-1]
            if part and part not in STOP:
                found.append(part)
    return found


def sections(text):
    """Split Markdown at its headings: (path of headings, body) pairs."""
    path, body, fence = [], [], None
    for line in text.splitlines():
        mark = re.match(r" {0,3}(```+|~~~+)", line)
        if mark:
            if fence is None:
                fence = mark.group(1)
            elif mark.group(1).startswith(fence):
                fence = None
        head = None if fence or mark else re.match(
            r" {0,3}(#{1,6})[ \t]+(.+?)[ \t#]*$", line)
        if not head:
            body.append(line)
            continue
        if "".join(body).strip():
            yield " / ".join(h for _, h in path), "\n".join(body).strip()
        body = []
        level = len(head.group(1))
        path = [p for p in path if p[0] < level] + [(level, head.group(2))]
    if "".join(body).strip():
        yield " / ".join(h for _, h in path), "\n".join(body).strip()


def passages(file, text):
    """The passages of one file: sections, long ones cut at empty lines."""
    for heading, body in sections(text):
        part, size = [], 0
        for block in re.split(r"\n[ \t]*\n", body):
            length = len(block.split())
            if part and size + length > PASSAGE:
                yield Passage(file, heading, "\n\n".join(part))
                part, size = [], 0
            part.append(block)
            size += length
        yield Passage(file, heading, "\n\n".join(part))


def load(paths):
    """Passages of files and folders (*.md); ValueError with a sentence."""
    files = []
    for path in paths:
        if os.path.isdir(path):
            for folder, folders, names in os.walk(path):
                folders.sort()
                files += [(os.path.join(folder, name),
                           os.path.relpath(os.path.join(folder, name),
                                           os.path.dirname(
                                               os.path.abspath(path))))
                          for name in sorted(names) if name.endswith(".md")]
        else:
            files.append((path, os.path.basename(path)))

    found = []
    for path, name in files:
        try:
            with open(path, encoding="utf-8", errors="replace") as source:
                text = source.read(FILE_MAX + 1)
        except OSError as error:
            raise ValueError("--docs \"%s\": %s"
                             % (path, error.strerror)) from None
        if len(text) > FILE_MAX:
            raise ValueError("--docs \"%s\": longer than %d characters"
                             % (path, FILE_MAX))
        found += passages(name, text)
    if not found:
        raise ValueError("--docs %s: no Markdown text is there"
                         % " ".join("\"%s\"" % path for path in paths))
    return found


class Index:
    """BM25 over passages; immutable once built."""

    def __init__(self, all_passages):
        self.passages = all_passages
        self.lengths = []
        self.postings = collections.defaultdict(list)   # word -> (i, tf)
        for i, passage in enumerate(all_passages):
            counts = collections.Counter(words(passage.text))
            for word in words(passage.heading):
                counts[word] += HEADING
            self.lengths.append(sum(counts.values()))
            for word, count in counts.items():
                self.postings[word].append((i, count))
        self.average = sum(self.lengths) / max(1, len(self.lengths)) or 1.0

    def search(self, question, limit=5):
        """The best passages: [(score, passage)], best first, score > 0."""
        scores = collections.defaultdict(float)
        for word in set(words(question)):
            found = self.postings.get(word, ())
            idf = math.log(1 + (len(self.passages) - len(found) + 0.5)
                           / (len(found) + 0.5))
            for i, tf in found:
                norm = 1 - B + B * self.lengths[i] / self.average
                scores[i] += idf * tf * (K1 + 1) / (tf + K1 * norm)
        best = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
        return [(score, self.passages[i]) for i, score in best[:limit]]


def sources(found):
    """What an answer says about where it is from."""
    return [{"file": passage.file, "heading": passage.heading,
             "score": round(score, 3)} for score, passage in found]


def answer(found):
    """An answer out of search results: the best passage, and the second when
    it is nearly as good."""
    if not found:
        return "The documentation says nothing about that."
    parts = []
    for score, passage in found[:2]:
        if score >= 0.8 * found[0][0]:
            where = passage.file + (", " + passage.heading
                                    if passage.heading else "")
            parts.append("%s\n\n(%s)" % (passage.text, where))
    return "\n\n".join(parts)


def tokens(text):
    """Cut a text into words with their white space; joined, they are it."""
    return re.findall(r"\s*\S+|\s+", text)
