#!/usr/bin/python3
import asyncio, os, signal, websockets

async def agent(socket):
    async for message in socket:
        await socket.send("you said: " + message)

async def main():
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    async with websockets.serve(agent, os.environ["HOST"],
                                int(os.environ["PORT"]), max_size=None):
        await stop.wait()

asyncio.run(main())
