#!/usr/bin/python3
"""docs: answers questions about Corral out of Corral's own documentation.

It retrieves, it does not write: every answer is made of passages as they stand
in the Markdown files, found by BM25.  Each answer says so: "method": "bm25".

POST /ask {"question": "..."}   JSON {answer, sources, method}; with
GET  /ask?question=...          "Accept: text/event-stream" a stream of events
WebSocket, a text or {"question": "..."}:
    {"event":"token","text"} ... {"event":"final","answer","sources","method"}
WebSocket or POST /rpc, JSON-RPC 2.0: method "ask", params {"question"};
    over WebSocket also notifications "token" {"id","text"} before the result
"""

import asyncio
import json
import os
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "common"))

from corral_agent import Agent, HTTPError, load_json, log, number  # noqa: E402
import corral_docs  # noqa: E402

ROOT = os.path.normpath(os.path.join(HERE, "..", "..", ".."))
QUESTION_MAX = 2000         # characters
METHOD = "bm25"


class RPCError(Exception):
    """An error of JSON-RPC: its code and a sentence."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def checked(question):
    """The question, or ValueError with a sentence."""
    if not isinstance(question, str) or not question.strip():
        raise ValueError("question: expected a text that is not empty")
    if len(question) > QUESTION_MAX:
        raise ValueError("question: %d characters, at most %d are taken"
                         % (len(question), QUESTION_MAX))
    return question


def rpc_question(call):
    """The question of a JSON-RPC call; RPCError when it is none."""
    if not isinstance(call, dict) or call.get("jsonrpc") != "2.0" \
            or not isinstance(call.get("method"), str) \
            or isinstance(call.get("id"), (dict, list, bool)):
        raise RPCError(-32600, "not a JSON-RPC 2.0 request")
    if call["method"] != "ask":
        raise RPCError(-32601, "method \"%s\" is unknown: there is \"ask\""
                       % call["method"][:80])
    params = call.get("params")
    if isinstance(params, list):
        params = {"question": params[0] if len(params) == 1 else None}
    try:
        return checked((params or {}).get("question")
                       if isinstance(params or {}, dict) else None)
    except ValueError as error:
        raise RPCError(-32602, str(error)) from None


def rpc_error(call, error):
    ident = call.get("id") if isinstance(call, dict) else None
    if isinstance(ident, (dict, list, bool)):
        ident = None
    return {"jsonrpc": "2.0", "id": ident,
            "error": {"code": error.code, "message": str(error)}}


class Docs(Agent):
    name = "docs"
    description = "Answers questions out of Corral's documentation."
    subprotocols = ("jsonrpc",)

    def arguments(self, parser):
        parser.add_argument(
            "--docs", action="append", metavar="PATH",
            help="Markdown file, or folder of them; may be given again "
                 "(default: docs and README.md of this source tree)")
        parser.add_argument(
            "--token-delay", type=number(0, 10000), default=15, metavar="MS",
            help="between the words of a streamed answer (default: 15)")

    async def start(self):
        paths = self.options.docs or [os.path.join(ROOT, "docs"),
                                      os.path.join(ROOT, "README.md")]
        self.index = corral_docs.Index(corral_docs.load(paths))
        log("info", "documentation loaded",
            passages=len(self.index.passages), paths=paths)

    def answer(self, question):
        found = self.index.search(question)
        return {"answer": corral_docs.answer(found),
                "sources": corral_docs.sources(found), "method": METHOD}

    async def stream(self, result, send):
        """Send the words of an answer, paced."""
        for token in corral_docs.tokens(result["answer"]):
            await send(token)
            await asyncio.sleep(self.options.token_delay / 1000)

    # HTTP and SSE

    async def http(self, request, reply):
        if request.path == "/" and request.method in ("GET", "HEAD"):
            await reply.json({
                "agent": self.name, "description": self.description,
                "method": METHOD, "passages": len(self.index.passages),
                "ask": ["POST /ask {\"question\"}", "GET /ask?question=",
                        "POST /rpc (JSON-RPC 2.0)", "WebSocket"]})
        elif request.path == "/ask" and request.method in ("GET", "POST"):
            await self.ask(request, reply)
        elif request.path == "/rpc" and request.method == "POST":
            await self.rpc(request, reply)
        elif request.path in ("/", "/ask", "/rpc"):
            allow = {"/": "GET, HEAD", "/ask": "GET, POST",
                     "/rpc": "POST"}[request.path]
            raise HTTPError(405, "%s %s: allowed are %s"
                            % (request.method, request.path, allow),
                            [("Allow", allow)])
        else:
            raise HTTPError(404, "nothing is at %s: try /ask" % request.path)

    async def ask(self, request, reply):
        if request.method == "GET":
            question = request.query.get("question")
        else:
            body = request.json()
            question = body.get("question") if isinstance(body, dict) else None
        try:
            result = self.answer(checked(question))
        except ValueError as error:
            raise HTTPError(400, str(error)) from None
        if not request.wants_events():
            await reply.json(result)
            return

        await reply.events()
        ident = 0

        async def token(text):
            nonlocal ident
            ident += 1
            await reply.event({"event": "token", "text": text}, "token", ident)

        await self.stream(result, token)
        await reply.event({"event": "final", **result}, "final", ident + 1)
        await reply.end()

    async def rpc(self, request, reply):
        try:
            call = load_json(request.body)
        except ValueError as error:
            await reply.json(rpc_error(None, RPCError(-32700, str(error))))
            return
        answers = await self.calls(call, None)
        if answers is None:
            await reply.send(b"", 204)
        else:
            await reply.json(answers)

    # JSON-RPC, over HTTP and WebSocket

    async def calls(self, call, notify):
        """Answer one call or a batch; None when nothing is to be said."""
        if not isinstance(call, list):
            return await self.call(call, notify)
        if not call or len(call) > 100:
            return rpc_error(None, RPCError(
                -32600, "a batch has 1 to 100 calls"))
        answers = [await self.call(one, None) for one in call]
        return [one for one in answers if one is not None] or None

    async def call(self, call, notify):
        try:
            result = self.answer(rpc_question(call))
        except RPCError as error:
            silent = isinstance(call, dict) and "id" not in call \
                and error.code != -32600
            return None if silent else rpc_error(call, error)
        if "id" not in call:
            return None                     # a notification has no answer
        if notify:
            await self.stream(result, lambda text: notify(
                {"jsonrpc": "2.0", "method": "token",
                 "params": {"id": call["id"], "text": text}}))
        return {"jsonrpc": "2.0", "id": call["id"], "result": result}

    # WebSocket

    async def websocket(self, socket, request):
        async def send(value):
            await socket.send(json.dumps(value))

        async for message in socket.messages():
            await self.message(message, send)

    async def message(self, message, send):
        if isinstance(message, bytes):
            await send({"event": "error",
                        "message": "send text, not binary"})
            return
        value = message
        if message.lstrip()[:1] in ("{", "["):
            try:
                value = load_json(message)
            except ValueError as error:
                # the sender is unknown: an answer that both kinds can read
                await send({**rpc_error(None, RPCError(-32700, str(error))),
                            "event": "error", "message": str(error)})
                return
        if isinstance(value, list) or isinstance(value, dict) \
                and "jsonrpc" in value:
            answer = await self.calls(value, send)
            if answer is not None:
                await send(answer)
            return

        question = value.get("question") if isinstance(value, dict) else value
        try:
            result = self.answer(checked(question))
        except ValueError as error:
            await send({"event": "error", "message": str(error)})
            return
        await self.stream(result, lambda text: send(
            {"event": "token", "text": text}))
        await send({"event": "final", **result})


if __name__ == "__main__":
    Docs().main()
