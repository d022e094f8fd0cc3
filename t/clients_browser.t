#!/usr/bin/perl

# Tests with a browser: a page that comes through the gateway opens a WebSocket
# and an EventSource through it; a page of another origin may use neither.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Browser;

use Encode qw/encode_utf8/;
use JSON::PP;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()
    ->has(qw/corral corral_websocket corral_origin chromium/);

my $agent = $t->agent(id => 'own.1', port => 8081,
    headers => [ 'Sec-WebSocket-Protocol: v1' ]);

$t->state_file(
    services => [ { name => 'own' }, { name => 'pages' } ],
    instances => [ $agent->instance('own'), { id => 'pages.1',
        service => 'pages', address => '127.0.0.1:' . port(8082) } ]);

# the page does everything at once and leaves the result in its text

$t->write_file('page.html', <<'EOF');
<!doctype html>
<meta charset="utf-8">
<title>Corral</title>
<pre id="result"></pre>
<script>
const at = new URLSearchParams(location.search).get("at") || location.host;
const MESSAGES = 200, EVENTS = 20;

function text(n) { return n + " grüß dich, 世界 " + ".".repeat(n * 97 % 3001); }

function socket() {
  const out = { opened: false, heard: 0, wrong: 0 };
  const ws = new WebSocket(`ws://${at}/agents/own/ws`, ["v2", "v1"]);
  ws.binaryType = "arraybuffer";
  return new Promise((done) => {
    ws.onopen = () => {
      out.opened = true;
      out.protocol = ws.protocol;
      for (let n = 1; n <= MESSAGES; n++) {
        ws.send(n % 2 ? text(n) : new TextEncoder().encode(text(n)));
      }
    };
    ws.onmessage = (event) => {
      const n = ++out.heard, binary = typeof event.data !== "string";
      const data = binary ? new TextDecoder().decode(event.data) : event.data;
      if (binary === (n % 2 === 1) || data !== text(n)) { out.wrong++; }
      if (n === MESSAGES) { ws.close(4000, "bye"); }
    };
    ws.onclose = (event) => {
      out.code = event.code;
      out.clean = event.wasClean;
      done(out);
    };
  });
}

function events() {
  const out = { opened: false, ids: [], ends: 0 };
  const source = new EventSource(`http://${at}/agents/own/sse?n=${EVENTS}`);
  return new Promise((done) => {
    source.onopen = () => { out.opened = true; };
    source.onmessage = (event) => {
      if (JSON.parse(event.data).n === Number(event.lastEventId)) {
        out.ids.push(event.lastEventId);
      }
      if (out.ids.length === EVENTS) { source.close(); done(out); }
    };
    source.onerror = () => {
      out.ends++;
      out.state = source.readyState;
      if (source.readyState === EventSource.CLOSED) { done(out); }
    };
  });
}

async function post() {
  try {
    const answer = await fetch(`http://${at}/agents/own/post`,
      { method: "POST", mode: "no-cors", body: "from " + location.host });
    return { type: answer.type, status: answer.status };
  } catch (error) {
    return { error: error.message };
  }
}

Promise.all([socket(), events(), post()]).then(([socket, events, post]) => {
  document.getElementById("result").textContent =
    JSON.stringify({ socket, events, post });
});
</script>
EOF

$t->write_file_expand('nginx.conf', <<'EOF')->plan(11);

%%TEST_GLOBALS%%

worker_processes  2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone        corral 4m;
    corral_state_file  %%TESTDIR%%/gateway.state;

    upstream agents {
        corral;
    }

    corral_websocket    agents;
    proxy_http_version  1.1;
    proxy_set_header    Connection "";
    proxy_buffering     off;

    server {
        listen  127.0.0.1:8080;

        location / {
            corral_service_from  path;
            proxy_pass           http://agents;
        }

        location = /status { corral_status; }
    }

    server {
        listen  127.0.0.1:8083;

        location / {
            corral_service_from  path;
            corral_origin        http://127.0.0.1:8082;
            proxy_pass           http://agents;
        }
    }
}

EOF

$t->run_daemon('/usr/bin/python3', '-m', 'http.server', '--bind', '127.0.0.1',
    '--directory', $t->testdir(), port(8082));
$t->waitforsocket(port(8082), 10) or die "No pages\n";
$t->run()->wait_for_revision(1);

my $browser = Test::Corral::Browser->new();

sub result {
    my ($url) = @_;
    my $text = $browser->open_page($url,
        'document.getElementById("result").textContent');
    return $text eq '' ? {} : decode_json(encode_utf8($text));
}

###############################################################################

my ($gateway, $pages, $listed) = map { '127.0.0.1:' . port($_) }
    8080, 8082, 8083;

# a page of the gateway itself

my $r = result("http://$gateway/agents/pages/page.html");

is_deeply($r->{socket}, { opened => JSON::PP::true, protocol => 'v1',
    heard => 200, wrong => 0, code => 4000, clean => JSON::PP::true },
    'WebSocket: 200 messages, text and binary, in order');
is_deeply($r->{events}, { opened => JSON::PP::true, ids => [ 1 .. 20 ],
    ends => 0 }, 'EventSource: 20 events in order');
is_deeply($r->{post}, { type => 'basic', status => 200 }, 'a request');
like((grep { /^POST/ } $agent->requests())[0] // '',
    qr!^POST /post .*\r\nOrigin: http://\Q$gateway\E\r\n!s, 'with its origin');

# a page of another port is another origin

my $requests = () = $agent->requests();
$r = result("http://$pages/page.html?at=$gateway");

is_deeply($r->{socket}, { opened => JSON::PP::false, heard => 0, wrong => 0,
    code => 1006, clean => JSON::PP::false }, 'foreign page: no WebSocket');
is_deeply($r->{events}, { opened => JSON::PP::false, ids => [], ends => 1,
    state => 2 }, 'no events, and it does not try again');
is(scalar(() = $agent->requests()), $requests,
    'its requests do not reach the agent');
is(scalar(() = $t->read_file('error.log') =~ /answers 403 origin_refused/g), 3,
    'each was refused for its origin');

# where that origin is listed it may

$r = result("http://$pages/page.html?at=$listed");

is($r->{socket}{heard}, 200, 'listed origin: messages');
is($r->{socket}{code}, 4000, 'and a close');
is((() = $agent->requests()) - $requests, 3, 'its requests reach the agent');

$browser->close();

###############################################################################
