// werift as the foreign peer: its API is nearly the browsers'.

import { RTCPeerConnection } from "werift";
import { serve, versionOf } from "./stdio.mjs";

serve({ RTCPeerConnection, version: async () => `werift ${versionOf("werift")}`, gathersFirst: true });
