// Calls Deskpulse as a browser's or a server's JavaScript would, by each of the protocols of Connect, and prints one JSON line for each.
//
// usage: node client.js URL DESCRIPTORS
import { readFileSync } from "node:fs";
import { createFileRegistry, fromBinary, toJson } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { EventSource } from "eventsource";

const [baseUrl, descriptors] = process.argv.slice(2);
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(descriptors)));
const service = (name) => registry.getService(`deskpulse.v1.${name}`);
const transports = {
  "connect json": createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false }),
  "connect proto": createConnectTransport({ baseUrl, httpVersion: "2", useBinaryFormat: true }),
  "grpc-web": createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }),
  grpc: createGrpcTransport({ baseUrl }),
};
const question = {
  tenant: "acme",
  metrics: [{ name: "first_response_time", percentiles: [50] }],
  groupBy: ["channel"],
  endTime: { seconds: 1_790_000_000n },
};
const figures = (answer) => answer.rows.map((row) => [row.group[0].value, Number(row.values[0].count), row.values[0].percentiles[0].value]);

for (const [name, transport] of Object.entries(transports)) {
  const query = createClient(service("QueryService"), transport);
  const said = { name };
  said.rows = figures(await query.queryMetrics(question));
  const batch = await query.batchQueryMetrics({ queries: [question, { tenant: "acme" }] });
  said.batch = batch.outcomes.map(({ outcome }) => outcome.case);
  said.inBand = batch.outcomes[1].outcome.value.message;
  try {
    await query.queryMetrics({ tenant: "acme" });
  } catch (error) {
    const refused = ConnectError.from(error);
    said.refused = { code: refused.code, message: refused.rawMessage, details: refused.details.map((detail) => detail.type) };
  }
  // The first answer of a watch, and then one that says what has changed.
  const stop = new AbortController();
  said.watched = [];
  try {
    for await (const { answer } of query.watchMetrics({ query: question }, { signal: stop.signal })) {
      said.watched.push(figures(answer));
      stop.abort();
    }
  } catch (error) {
    said.ended = ConnectError.from(error).code;
  }
  try {
    for await (const _ of query.watchMetrics({})) {
      said.refusedWatch = "answered";
    }
  } catch (error) {
    said.refusedWatch = ConnectError.from(error).rawMessage;
  }
  console.log(JSON.stringify(said));
}

const source = new EventSource(`${baseUrl}/api/v1/watch?tenant=acme&metric=conversations_opened&to=2026-09-01`);
source.onerror = (event) => {
  console.log(JSON.stringify({ name: "EventSource", error: event.message }));
  process.exit(1);
};
source.onmessage = (event) => {
  const { answer } = JSON.parse(event.data);
  console.log(JSON.stringify({ name: "EventSource", id: event.lastEventId.length > 0, count: answer.rows[0].values[0].count }));
  source.close();
  process.exit(0);
};
