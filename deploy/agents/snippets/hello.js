const { WebSocketServer } = require('ws');
const { HOST: host, PORT: port } = process.env;
const wss = new WebSocketServer({ host, port });
wss.on('connection', (ws) => ws.on('message',
  (message) => ws.send('you said: ' + message)));
process.on('SIGTERM', () => { wss.clients.forEach((ws) => ws.close(1012)); wss.close(); });
