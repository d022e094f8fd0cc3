"""What a session can be rebuilt from: signed states and a folder of them.

A client may hold the state of its session and bring it back, to any instance
that has the same key.  The format is MyAgent's:

    {state, timestamp, signature, version: "1.0", checksum}

signature = HMAC-SHA256(key, json + ":" + timestamp + ":1.0"), checksum =
SHA-256(json), json = the state with sorted keys and without spaces.  All
numbers in it are whole: a client in JavaScript writes 5.0 back as 5, and the
signature would break.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
import tempfile
import time

VERSION = "1.0"
LIFETIME = 7 * 86400        # seconds a signed state is taken
SKEW = 300                  # seconds another instance's clock may be ahead
KEY_MIN = 16                # bytes
MEMORY_MESSAGES = 100
MEMORY_BYTES = 100 * 1024
FIELDS = ("session_id", "current_step", "agent_state", "created_at",
          "last_active_at", "memory_snapshot", "tool_states",
          "pending_confirmations", "metadata")
SESSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{7,63}")


class StateError(ValueError):
    """The state is refused; the text says why."""


def canonical(state):
    return json.dumps(state, sort_keys=True, separators=(",", ":"))


def make_folder(folder):
    """Make the folder of states where it is missing."""
    try:
        if folder is not None:
            os.makedirs(folder, 0o700, exist_ok=True)
    except OSError as error:
        raise ValueError("--state-dir \"%s\": %s"
                         % (folder, error.strerror)) from None


def load_key(path, environment):
    """The key and whether it is shared; ValueError with a sentence.

    A missing file is made with a new key.  It is linked into place whole, so
    that instances starting together agree on one.
    """
    if path is None:
        text = os.environ.get(environment, "")
        if not text:
            return secrets.token_bytes(32), False
        if len(text.encode()) < KEY_MIN:
            raise ValueError("%s: a key has at least %d bytes, this one has "
                             "%d" % (environment, KEY_MIN,
                                     len(text.encode())))
        return text.encode(), True
    try:
        if not os.path.exists(path):
            handle, name = tempfile.mkstemp(
                dir=os.path.dirname(os.path.abspath(path)))
            try:
                os.write(handle, secrets.token_hex(32).encode() + b"\n")
                os.fsync(handle)
                os.link(name, path)
            except FileExistsError:
                pass                        # another instance was first
            finally:
                os.close(handle)
                os.unlink(name)
        with open(path, "rb") as file:
            key = file.read(65536).strip()
    except OSError as error:
        raise ValueError("--state-key-file \"%s\": %s"
                         % (path, error.strerror)) from None
    if len(key) < KEY_MIN:
        raise ValueError("--state-key-file \"%s\": a key has at least %d "
                         "bytes, this one has %d" % (path, KEY_MIN, len(key)))
    return key, True


class Signer:
    def __init__(self, key):
        self.key = key

    def _signature(self, text, timestamp):
        data = "%s:%d:%s" % (text, timestamp, VERSION)
        return hmac.new(self.key, data.encode(), hashlib.sha256).hexdigest()

    def sign(self, state):
        text = canonical(state)
        timestamp = int(time.time())
        return {"state": state, "timestamp": timestamp,
                "signature": self._signature(text, timestamp),
                "version": VERSION,
                "checksum": hashlib.sha256(text.encode()).hexdigest()}

    def open(self, signed):
        """The state inside; StateError when it is not ours, whole and new."""
        if not isinstance(signed, dict):
            raise StateError("signed_state is not an object")
        for name in ("state", "timestamp", "signature", "version", "checksum"):
            if name not in signed:
                raise StateError("Missing required field: " + name)
        state, timestamp = signed["state"], signed["timestamp"]
        if signed["version"] != VERSION:
            raise StateError("Version mismatch")
        if isinstance(timestamp, bool) or not isinstance(timestamp, int) \
                or not isinstance(state, dict):
            raise StateError("Invalid state signature")
        try:
            text = canonical(state)
        except (RecursionError, ValueError):
            raise StateError("Invalid state signature") from None
        if not isinstance(signed["signature"], str) or not hmac.compare_digest(
                self._signature(text, timestamp).encode(),
                signed["signature"].encode("utf-8", "replace")):
            raise StateError("Invalid state signature")
        age = int(time.time()) - timestamp
        if age > LIFETIME or age < -SKEW:
            raise StateError("State expired (age: %ds)" % age)
        if hashlib.sha256(text.encode()).hexdigest() != signed["checksum"]:
            raise StateError("State checksum mismatch")
        for name in FIELDS:
            if name not in state:
                raise StateError("Missing required field: " + name)
        return state


def snapshot(memory):
    """The end of a conversation as JSON text within the bounds."""
    kept = memory[-MEMORY_MESSAGES:]
    text = json.dumps(kept, separators=(",", ":"))
    while len(text) > MEMORY_BYTES:
        kept = kept[max(1, len(kept) // 8):]
        text = json.dumps(kept, separators=(",", ":"))
    return text


class Store:
    """States on disk, shared by the instances of a node; signed like those
    that clients hold.  Without a folder it remembers nothing."""

    def __init__(self, folder, signer):
        self.folder = folder
        self.signer = signer

    def _path(self, session_id):
        return os.path.join(self.folder, session_id + ".json")

    def save(self, state):
        """Write a state, whole or not at all; OSError when that fails."""
        if self.folder is None:
            return
        handle, name = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
        try:
            with os.fdopen(handle, "w") as file:
                json.dump(self.signer.sign(state), file)
            os.replace(name, self._path(state["session_id"]))
        except BaseException:
            os.unlink(name)
            raise

    def load(self, session_id):
        """The state of a session, or None."""
        if self.folder is None or not SESSION_ID.fullmatch(session_id):
            return None
        try:
            with open(self._path(session_id), encoding="utf-8") as file:
                state = self.signer.open(json.load(file))
        except (OSError, ValueError):
            return None
        return state if state["session_id"] == session_id else None

    def prune(self):
        """Remove states that nobody would take any more."""
        if self.folder is None:
            return
        for entry in os.scandir(self.folder):
            try:
                if entry.name.endswith((".json", ".tmp")) \
                        and time.time() - entry.stat().st_mtime > LIFETIME:
                    os.unlink(entry.path)
            except OSError:
                pass
