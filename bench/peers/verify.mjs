// A verifier as people write one: jose behind node's http. `verify.mjs SOCKET KEY.pem ISSUER AUDIENCE JOSE`.
import fs from 'node:fs';
import http from 'node:http';
import { pathToFileURL } from 'node:url';

const [socket, key, issuer, audience, library] = process.argv.slice(2);
const jose = await import(pathToFileURL(library).href);
const publicKey = await jose.importSPKI(fs.readFileSync(key, 'utf8'), 'ES256');

async function judge(request) {
  try {
    const token = request.headers.authorization.slice(7);
    const rules = { issuer, audience, algorithms: ['ES256'] };
    const { payload } = await jose.jwtVerify(token, publicKey, rules);
    const bound = Buffer.from(payload.cnf['x5t#S256'], 'base64url');
    return bound.equals(Buffer.from(request.headers['x-signet-peer-sha256'], 'hex')) ? 200 : 401;
  } catch {
    return 401;
  }
}

const server = http.createServer(async (request, response) => {
  response.writeHead(await judge(request), { 'content-length': 0 });
  response.end();
});
server.keepAliveTimeout = 600_000;
server.listen(socket);
