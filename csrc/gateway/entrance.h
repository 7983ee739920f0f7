// By which listener a client has come in: what is spoken there, and whose restrictions hold.
#pragma once

namespace pyserver::gateway {

// Each port takes both protocols, so that one port can be enough. But nobody gets more at one port than at the other: a protocol's
// restrictions hold for whatever comes in at its port, and a port that asks less of its clients' certificates speaks its own protocol
// only (pyserver/frontend/entrances.py).
struct Entrance {
  bool http1 = true;
  bool http2 = true;
  bool http_rules = false;  // for gRPC's calls too
  bool grpc_rules = false;  // for HTTP's requests too
};

}  // namespace pyserver::gateway
