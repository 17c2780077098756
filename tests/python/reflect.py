"""Talks to a Deskpulse of which it knows nothing but the address: everything else comes from server reflection.

Lists the services, sends a batch of events and reads a percentile:

    pip install grpcio grpcio-reflection protobuf
    python reflect.py 127.0.0.1:7400
"""

import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

PATIENCE_SECONDS = 20


def event(number, time, payload):
    return {"id": str(number), "source": "python", "tenant": "python", "time": f"2026-06-01T{time}Z", **payload}


def events():
    """Three chats, answered after 30, 45 and 60 seconds."""
    for chat, (minute, second) in enumerate([(0, 30), (0, 45), (1, 0)]):
        conversation = f"chat-{chat}"
        opened = {"conversation": conversation, "dimensions": {"channel": "chat"}}
        reply = {"conversation": conversation, "actor": {"kind": "ACTOR_KIND_AGENT", "id": "ada"}}
        yield event(2 * chat, "09:00:00", {"conversationOpened": opened})
        yield event(2 * chat + 1, f"09:{minute:02}:{second:02}", {"messageCreated": reply})


class Server:
    """Calls methods by name, with requests as plain dictionaries."""

    def __init__(self, channel):
        self.channel = channel
        self.reflection = ProtoReflectionDescriptorDatabase(channel)
        self.pool = DescriptorPool(self.reflection)

    def call(self, service, method, request):
        described = self.pool.FindServiceByName(service).FindMethodByName(method)
        invoke = self.channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(described.output_type).FromString,
        )
        return invoke(ParseDict(request, GetMessageClass(described.input_type)()), timeout=PATIENCE_SECONDS)


def main(address):
    with grpc.insecure_channel(address) as channel:
        server = Server(channel)
        for service in sorted(server.reflection.get_services()):
            print("service", service)
        sent = server.call("deskpulse.v1.IngestService", "IngestEvents", {"events": list(events())})
        for count in ("accepted", "duplicates", "unverified"):
            print(count, getattr(sent.outcome, count))
        metric = {"name": "first_response_time", "percentiles": [50]}
        question = {"tenant": "python", "metrics": [metric], "filter": 'channel = "chat"'}
        answer = server.call("deskpulse.v1.QueryService", "QueryMetrics", question)
        (figure,) = answer.rows[0].values
        (p50,) = figure.percentiles
        print("first_response_time", "count", figure.count, "p50", p50.value, "ms")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
