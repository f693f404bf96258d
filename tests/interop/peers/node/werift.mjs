// werift as the foreign peer: its API is nearly the browsers'.

import { RTCPeerConnection } from "werift";
import { serve, versionOf } from "./stdio.mjs";

serve({
  RTCPeerConnection,
  version: async () => `werift ${versionOf("werift")}`,
  gathersFirst: true,
  // Without a STUN server it asks a public one, and its descriptions wait for the answer: here for so many seconds.
  configuration: { iceStunGatherTimeout: 0.02 },
});
