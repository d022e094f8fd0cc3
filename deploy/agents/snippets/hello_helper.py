#!/usr/bin/python3
from corral_agent import Agent

class Hello(Agent):
    async def websocket(self, socket, request):
        async for message in socket.messages():
            await socket.send("you said: " + message)

Hello().main()
