// A browser as the foreign peer. It takes requests from the suite over the WebSocket of the address it was loaded from.

import { Peer } from "./peer.js";

/** The version as the browser itself tells it: in full where it can. */
async function version() {
  const data = await navigator.userAgentData?.getHighEntropyValues(["fullVersionList"]);
  const brand = data?.fullVersionList.find(({ brand }) => brand === "Chromium");
  return brand ? `Chromium ${brand.version}` : navigator.userAgent.match(/(Firefox|Chrome)\/[\d.]+/)[0].replace("/", " ");
}

const socket = new WebSocket(`ws://${location.host}/peer`);
const peer = new Peer({ RTCPeerConnection, version }, (message) => socket.send(JSON.stringify(message)));
socket.onmessage = ({ data }) => peer.handle(data);
