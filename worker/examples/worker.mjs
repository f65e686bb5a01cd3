// A worker in Node.js, without dependencies: node worker.mjs [PORT]
import { createServer } from "node:http";

const server = createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const sequence = request.headers["rollcall-sequence"];
    const body = Buffer.concat(chunks).toString();
    if (request.method !== "POST") return response.writeHead(405).end();
    if (body === "") return response.writeHead(422, { "Rollcall-Reason": `empty: ${sequence}` }).end();
    response.writeHead(200, { "Content-Type": "text/plain" }).end(body.toUpperCase());
  });
});
server.keepAliveTimeout = 65_000; // Longer than the supervisor keeps idle connections.
server.listen(Number(process.argv[2] ?? 0), "127.0.0.1", () =>
  console.log(`http://127.0.0.1:${server.address().port}`));
