"""aiortc as the foreign peer. `src/foreign/protocol.rs` says what the messages mean.

One request a line comes on the standard input, one report a line goes to the standard output.
"""

import asyncio
import base64
import json
import sys
import zlib

import aiortc
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp


def report(**message):
    print(json.dumps(message), flush=True)


def mode(channel):
    return {
        "label": channel.label,
        "protocol": channel.protocol,
        "ordered": channel.ordered,
        "maxRetransmits": channel.maxRetransmits,
        "maxPacketLifeTime": channel.maxPacketLifeTime,
        "id": channel.id,
    }


def numbered_messages(count, size):
    """The messages of a burst; `src/foreign/pattern.rs` has the same."""
    pattern = bytes((i * 31 + (i >> 8) * 17) & 0xFF for i in range(size))
    for number in range(count):
        yield number.to_bytes(4, "big") + pattern[4:]


async def burst(channel, count, size, high, low):
    """Sends many messages, and waits with more than `high` bytes buffered until `low` are left."""
    woken = asyncio.Event()
    most = waits = lows = 0

    def on_low():
        nonlocal lows
        lows += 1
        woken.set()

    channel.bufferedAmountLowThreshold = low
    channel.on("bufferedamountlow", on_low)
    for message in numbered_messages(count, size):
        while channel.bufferedAmount > high:
            waits += 1
            woken.clear()
            await woken.wait()
        channel.send(message)
        most = max(most, channel.bufferedAmount)
    return {"most": most, "waits": waits, "lows": lows}


class Peer:
    def __init__(self):
        self.connections = {}
        self.channels = {}

    async def handle(self, request):
        try:
            ok = await self.perform(request) or {}
            report(id=request["id"], ok=ok)
        except Exception as error:
            report(id=request["id"], error=f"{type(error).__name__}: {error}")

    async def perform(self, request):
        connection = self.connections.get(request["connection"])
        channel = self.channels.get(request.get("channel"))
        match request["do"]:
            case "hello":
                return {"version": f"aiortc {aiortc.__version__}"}
            case "create":
                self.create(request["connection"])
            case "offer":
                await connection.setLocalDescription(await connection.createOffer())
                return {"sdp": connection.localDescription.sdp}
            case "answer":
                await connection.setRemoteDescription(RTCSessionDescription(request["sdp"], "offer"))
                await connection.setLocalDescription(await connection.createAnswer())
                return {"sdp": connection.localDescription.sdp}
            case "accept":
                await connection.setRemoteDescription(RTCSessionDescription(request["sdp"], "answer"))
            case "candidate":
                candidate = candidate_from_sdp(request["candidate"].removeprefix("candidate:"))
                candidate.sdpMLineIndex = 0
                await connection.addIceCandidate(candidate)
            case "channel":
                channel = connection.createDataChannel(request["label"], **request["init"])
                return {"channel": self.adopt(channel, request["connection"])}
            case "send":
                text = request.get("text")
                channel.send(base64.b64decode(request["binary"]) if text is None else text)
            case "burst":
                return await burst(channel, *(request[name] for name in ("count", "size", "high", "low")))
            case "shut":
                channel.close()
            case "close":
                await connection.close()
            case unknown:
                raise ValueError(f"unknown request {unknown}")

    def create(self, number):
        # Without a configuration it would ask a public STUN server.
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.connections[number] = connection

        @connection.on("datachannel")
        def on_datachannel(channel):
            self.adopt(channel, number, remote=True)

        @connection.on("connectionstatechange")
        def on_state():
            report(connection=number, event="state", state=connection.connectionState)

    def adopt(self, channel, connection, remote=False):
        """Gives a channel its number and tells what happens on it."""
        number = len(self.channels) + 1
        self.channels[number] = channel
        if remote:
            report(connection=connection, channel=number, event="channel", **mode(channel))
        if channel.readyState == "open":
            # aiortc has opened it, and told nobody, before anybody could listen.
            report(connection=connection, channel=number, event="open", **mode(channel))

        @channel.on("open")
        def on_open():
            report(connection=connection, channel=number, event="open", **mode(channel))

        @channel.on("close")
        def on_close():
            report(connection=connection, channel=number, event="closed")

        @channel.on("message")
        def on_message(data):
            text = isinstance(data, str)
            data = data.encode() if text else data
            short = {"data": base64.b64encode(data).decode()} if len(data) <= 1024 else {}
            report(
                connection=connection,
                channel=number,
                event="message",
                text=text,
                size=len(data),
                crc=zlib.crc32(data),
                **short,
            )

        return number


async def main():
    peer = Peer()
    lines = asyncio.StreamReader(limit=1 << 24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    tasks = set()
    while line := await lines.readline():
        task = asyncio.create_task(peer.handle(json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


asyncio.run(main())
