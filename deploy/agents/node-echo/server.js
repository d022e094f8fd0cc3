#!/usr/bin/env node
'use strict';

/*
 * Echo agent in Node: WebSocket (npm's ws), HTTP and SSE on one listener.
 *
 * WebSocket   each message comes back; subprotocol "echo" is accepted
 * WebSocket /tally   JSON-RPC: "add" adds params to the session's sum.  Sessions
 *             lie in a folder that instances share (--sessions), so that the
 *             gateway may move a client to another one
 * GET /       what the agent saw of the request
 * POST /echo  the body
 * GET /events?n=5&interval=1000   counts, as server-sent events
 *
 * Install with "npm ci", run with CORRAL_LISTEN or --listen.
 */

const crypto = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { parseArgs } = require('node:util');
const { WebSocketServer } = require('ws');

const BACKLOG = 1 << 20;        // bytes unsent before reading pauses
const INTERVAL_MAX = 600000;    // milliseconds
const TALLY_KEPT = 100;         // answers kept for a session


function log(level, message, fields) {
  process.stdout.write(JSON.stringify({
    time: new Date().toISOString(), level,
    service: process.env.CORRAL_SERVICE || '',
    instance: process.env.CORRAL_INSTANCE || '', message, ...fields,
  }) + '\n');
}


function fail(message, code) {
  process.stderr.write(`node-echo: ${message}\n`);
  process.exit(code);
}


/* A whole number from low to high, or undefined. */

function number(text, low, high) {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : NaN;
  return value >= low && value <= high ? value : undefined;
}


function options() {
  let values;
  try {
    ({ values } = parseArgs({ options: {
      listen: { type: 'string', default: process.env.CORRAL_LISTEN },
      grace: { type: 'string', default: '8' },
      'max-message': { type: 'string', default: String(64 << 20) },
      'max-body': { type: 'string', default: String(16 << 20) },
      sessions: { type: 'string',
        default: path.join(os.tmpdir(), `corral-tally-${os.userInfo().uid}`) },
    } }));
  } catch (error) {
    fail(error.message, 2);
  }
  if (!values.listen) {
    fail('where to listen is missing: set CORRAL_LISTEN or give --listen', 2);
  }
  for (const [name, high] of [['grace', 86400], ['max-message', 2 ** 31 - 1],
    ['max-body', 2 ** 31 - 1]]) {
    const value = number(values[name], 0, high);
    if (value === undefined) {
      fail(`--${name} "${values[name]}": expected a whole number from 0 to ` +
        high, 2);
    }
    values[name] = value;
  }
  return values;
}


/* What server.listen() takes: {path} or {host, port}. */

function address(text) {
  if (text.startsWith('unix:') && text.length > 5) {
    return { path: text.slice(5) };
  }
  const found = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  if (!found || Number(found[3]) > 65535) {
    fail(`--listen "${text}": expected unix:/path, host:port or ` +
      '[address]:port with a port up to 65535', 1);
  }
  return { host: found[1] || found[2], port: Number(found[3]) };
}


const opt = options();
const where = address(opt.listen);
const sockets = new Set();
let stopping = false;


function answer(res, status, type, body, headers) {
  if (stopping) {
    res.setHeader('Connection', 'close');
  }
  res.writeHead(status, { 'Content-Type': type,
    'Content-Length': Buffer.byteLength(body), ...headers });
  res.end(body);
}


function json(res, status, value, headers) {
  answer(res, status, status < 400 ? 'application/json'
    : 'application/problem+json', JSON.stringify(value) + '\n', headers);
}


function problem(res, status, detail, headers) {
  json(res, status, { title: http.STATUS_CODES[status], status, detail },
    headers);
}


function echo(req, res) {
  const parts = [];
  let size = 0;
  req.on('data', (part) => {
    size += part.length;
    if (size <= opt['max-body']) {
      parts.push(part);
    }
  });
  req.on('end', () => {
    if (size > opt['max-body']) {
      problem(res, 413, `a body of ${size} bytes: at most ` +
        `${opt['max-body']} are taken`);
    } else {
      answer(res, 200, req.headers['content-type'] ||
        'application/octet-stream', Buffer.concat(parts));
    }
  });
}


function events(url, req, res) {
  const n = number(url.searchParams.get('n') ?? '5', 0, 1000000);
  const interval = number(url.searchParams.get('interval') ?? '1000', 0,
    INTERVAL_MAX);
  const last = number(req.headers['last-event-id'] ?? '0', 0, 1e15);
  if (n === undefined || interval === undefined || last === undefined) {
    problem(res, 400, 'n, interval or Last-Event-ID: expected whole numbers');
    return;
  }
  res.writeHead(200, { 'Content-Type': 'text/event-stream',
    'Cache-Control': 'no-store' });
  let timer;
  let count = last;
  res.on('close', () => clearTimeout(timer));
  const next = () => {
    count += 1;
    if (count > n) {
      res.end(`event: end\ndata: {"of":${n}}\n\n`);
      return;
    }
    const room = res.write(`id: ${count}\nevent: count\n` +
      `data: {"count":${count},"of":${n}}\n\n`);
    const later = () => { timer = setTimeout(next, interval); };
    if (room) {
      later();
    } else {
      res.once('drain', later);
    }
  };
  next();
}


function request(req, res) {
  let url;
  try {
    url = new URL(req.url, 'http://agent');
  } catch {
    problem(res, 400, 'the request target is broken');
    return;
  }
  const route = { '/': ['GET', 'HEAD'], '/healthz': ['GET', 'HEAD'],
    '/events': ['GET'], '/echo': ['POST', 'PUT'] }[url.pathname];
  if (!route) {
    problem(res, 404, `nothing is at ${url.pathname}: try /, /echo or ` +
      '/events');
  } else if (!route.includes(req.method)) {
    problem(res, 405, `${req.method} ${url.pathname}: allowed are ` +
      route.join(', '), { Allow: route.join(', ') });
  } else if (url.pathname === '/events') {
    events(url, req, res);
  } else if (url.pathname === '/echo') {
    echo(req, res);
  } else if (url.pathname === '/healthz') {
    json(res, stopping ? 503 : 200, { status: stopping ? 'stopping' : 'ok',
      agent: 'node-echo', websockets: sockets.size });
  } else {
    const headers = [];
    for (let i = 0; i < req.rawHeaders.length; i += 2) {
      headers.push([req.rawHeaders[i], req.rawHeaders[i + 1]]);
    }
    json(res, 200, { agent: 'node-echo', pid: process.pid,
      service: process.env.CORRAL_SERVICE || '',
      instance: process.env.CORRAL_INSTANCE || '', method: req.method,
      path: url.pathname, query: Object.fromEntries(url.searchParams),
      headers });
  }
}


const wss = new WebSocketServer({ noServer: true, clientTracking: false,
  maxPayload: opt['max-message'],
  perMessageDeflate: { threshold: 1024 },
  handleProtocols: (offered) => (offered.has('echo') ? 'echo' : false) });

/*
 * A sum for each session.  The contract with the gateway: Corral-Session is the
 * name of the session, whoever held it before; nobody is greeted; and a request
 * that comes again, because its answer was lost with another instance, is
 * answered from what is stored and adds nothing.
 */

class Tally {
  constructor(session) {
    const name = crypto.createHash('sha256').update(session).digest('hex');
    this.file = path.join(opt.sessions, `${name}.json`);
    fs.mkdirSync(opt.sessions, { recursive: true, mode: 0o700 });
    try {
      Object.assign(this, JSON.parse(fs.readFileSync(this.file, 'utf8')));
    } catch (error) {
      if (error.code !== 'ENOENT') {
        throw error;
      }
      this.sum = 0;
      this.done = [];
    }
  }

  save() {
    const next = `${this.file}.${process.pid}`;
    fs.writeFileSync(next, JSON.stringify({ sum: this.sum, done: this.done }));
    fs.renameSync(next, this.file);
  }

  add(id, n) {
    const before = this.done.find((one) => one.id === id);
    if (before) {
      return before.sum;
    }
    this.sum += n;
    this.done = [...this.done, { id, sum: this.sum }].slice(-TALLY_KEPT);
    this.save();              // stored before it is answered
    return this.sum;
  }
}


function tally(ws, req) {
  const session = req.headers['corral-session'] || crypto.randomUUID();
  const sums = new Tally(session);
  const resumed = Number(req.headers['corral-resume'] || 0);
  ws.on('message', (data) => {
    let call;
    try {
      call = JSON.parse(data);
    } catch (error) {
      ws.close(1007, 'that is no JSON');
      return;
    }
    if (call === null || typeof call !== 'object' || call.id === undefined) {
      return;                   // a notification: there is none to act on
    }
    const answer = { jsonrpc: '2.0', id: call.id };
    if (call.method === 'add' && Number.isFinite(call.params)) {
      answer.result = { sum: sums.add(call.id, call.params), resumed,
        instance: process.env.CORRAL_INSTANCE || String(process.pid) };
    } else {
      answer.error = { code: -32601, message: '"add" with a number is all' };
    }
    ws.send(JSON.stringify(answer));
  });
}


wss.on('connection', (ws, req) => {
  sockets.add(ws);
  ws.on('close', () => sockets.delete(ws));
  ws.on('error', () => {});     // the protocol was broken: ws closes with why
  if (req.url.split('?')[0] === '/tally') {
    tally(ws, req);
    return;
  }
  ws.on('message', (data, binary) => {
    ws.send(data, { binary }, () => {
      if (ws.isPaused && ws.bufferedAmount <= BACKLOG) {
        ws.resume();
      }
    });
    if (ws.bufferedAmount > BACKLOG) {
      ws.pause();               // the peer does not read: read no more of it
    }
  });
});

const server = http.createServer({ keepAliveTimeout: 90000 }, request);

server.on('upgrade', (req, socket, head) => {
  wss.handleUpgrade(req, socket, head, (ws) => {
    wss.emit('connection', ws, req);
    if (stopping) {
      ws.close(1012, 'the agent stops');
    }
  });
});

server.on('error', (error) => {
  fail(`cannot listen on ${opt.listen}: ${error.message}`, 1);
});


/* Messages are answered as they come, so every moment is a boundary. */

function stop() {
  if (stopping) {
    return;
  }
  stopping = true;
  log('info', 'stopping', { websockets: sockets.size, grace: opt.grace });
  for (const ws of sockets) {
    ws.resume();
    ws.close(1012, 'the agent stops');
  }
  const over = setTimeout(() => process.exit(0), opt.grace * 1000);
  server.close(() => {
    clearTimeout(over);
    log('info', 'stopped');
    process.exit(0);
  });
  server.closeIdleConnections();
}


function listen() {
  const mask = process.umask(where.path ? 0o117 : process.umask());
  server.listen(where, () => {
    process.umask(mask);
    log('info', 'listening', { listen: opt.listen, pid: process.pid });
  });
}


/* A socket that nobody answers on was left by a process that was killed. */

process.on('SIGTERM', stop);
process.on('SIGINT', stop);

if (where.path && fs.existsSync(where.path)) {
  const probe = net.connect(where.path);
  probe.on('connect', () => {
    fail(`cannot listen on ${opt.listen}: another process listens there`, 1);
  });
  probe.on('error', (error) => {
    if (error.code === 'ECONNREFUSED'
        && fs.statSync(where.path).isSocket()) {
      fs.unlinkSync(where.path);
    }
    listen();
  });
} else {
  listen();
}
