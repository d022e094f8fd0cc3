#!/usr/bin/perl

# Tests for WebSockets whose request another module holds: limit_conn counts
# them until they end, so the request must live as long as the connection.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::WebSocket qw/:frames/;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corral_status corral_websocket/);

my $agent = $t->agent(id => 'echo.1', port => 8081);

$t->state_file(services => [ { name => 'echo' } ],
    instances => [ $agent->instance('echo') ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(24);

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone        corral 4m;
    corral_state_file  %%TESTDIR%%/gateway.state;

    limit_conn_zone  $arg_who  zone=who:1m;

    log_format  kept  '$request_uri $status $upstream_status $bytes_sent '
                      '$request_time id=$corral_connection_id '
                      'code=$corral_close_code closed=$corral_close_sent '
                      'in=$corral_messages_received/$corral_bytes_received '
                      'out=$corral_messages_sent/$corral_bytes_sent '
                      'service=$corral_service ua=$http_user_agent';
    access_log  %%TESTDIR%%/kept.log  kept;

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        location / {
            corral_service_from   path;
            corral_websocket      agents;
            corral_close_timeout  300ms;
            limit_conn            who 1;
        }

        location = /status { corral_status; access_log off; }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

# the limit holds while the connection lives, and no longer

my $ws = open_ws('a');
is($ws->numbered(20), '', 'messages pass');
is($t->websocket('/agents/echo/?who=a')->status(), 503, 'second is refused');
is(open_ws('b')->close(), 1000, 'another one is not');
is($ws->close(3000, 'enough'), 3000, 'closed');

ok(wait_for(sub {
    my $again = $t->websocket('/agents/echo/?who=a');
    my $ok = $again->accepted();
    $again->close() if $ok;
    $ok;
}), 'free again');

# one line each, with all that was counted

my $line = $t->wait_for_log(qr/.* code=3000 .*/, 'kept.log') // '';
my $in = 6 + 6 + 2;

like($line, qr{^/agents/echo/\?who=a 101 101 \d+ \d+\.\d{3} }, 'line');
like($line, qr/ id=[0-9a-f]{16} code=3000 closed=1 /, 'close');
like($line, qr{ in=20/\d+ out=20/\d+ service=echo }, 'messages');

# every way to end it

$ws = open_ws('c');
$ws->send_text('!drop');
is($ws->close_code(), 1001, 'agent disconnects');
like($t->wait_for_log(qr/.*who=c .*/, 'kept.log'), qr/ code=1006 closed=1 /,
    'logged');

$ws = open_ws('d');
$ws->send_text('!reset');
is($ws->close_code(), 1011, 'agent resets');
ok($ws->ended(), 'client is disconnected');

$ws = open_ws('e');
$ws->disconnect();
like($t->wait_for_log(qr/.*who=e .*/, 'kept.log'), qr/ code=1006 closed=0 /,
    'client disconnects');

$ws = open_ws('f');
$ws->disconnect(reset => 1);
like($t->wait_for_log(qr/.*who=f .*/, 'kept.log'), qr/ code=1006 closed=0 /,
    'client resets');

$ws = open_ws('g');
$ws->send_raw("\xff\xff" x 20);
is($ws->close_code(), 1002, 'broken frame');
like($t->wait_for_log(qr/.*who=g .*/, 'kept.log'), qr/ code=1002 closed=1 /,
    'logged, too');

# last words

$ws = $t->websocket('/agents/echo/?who=h', rcvbuf => 4096);
$ws->send_text('!send 4000000 close');
$ws->send_text('still talking') for 1 .. 20;
my $f = $ws->read_frame(10);
is($f ? length $f->{payload} : 0, 4_000_000, 'all of 4 MB');
is($ws->close_code(), 1000, 'and the close');

# a reload changes nothing

$ws = open_ws('i');
ok($t->reload(), 'reload');
is($ws->numbered(10), '', 'messages pass after it');
is($ws->close(), 1000, 'close after it');
ok(wait_for(sub { !$t->workers(1) }, 5), 'old worker ends');

is($t->wait_for_counts({ 'echo.1' => 0 })->{'echo.1'}, 0, 'nothing is held');
is(scalar(() = $t->read_file('error.log') =~ /another module holds/g), 1,
    'said once');

###############################################################################

sub open_ws {
    my ($who) = @_;

    my $ws = $t->websocket("/agents/echo/?who=$who");
    die "no handshake: " . $ws->head() unless $ws->accepted();

    return $ws;
}

###############################################################################
