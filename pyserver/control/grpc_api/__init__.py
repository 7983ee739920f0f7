"""All of gRPC but inference: a stock grpc.aio server that frontends proxy to.

Nothing is imported here, and grpcio only by calls, health, reflection and server: it takes a
quarter of a second, which start-up does not wait for (see start.py).
"""
