#!/usr/bin/perl

# Tests for last words: what one side has sent before it ended reaches the other
# one, however slowly that one reads.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Time::HiRes qw/sleep/;

use Test::Corral::WebSocket qw/:frames/;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corral_status corral_websocket/);

my $agent = $t->agent(id => 'echo.1', port => 8081);

$t->state_file(services => [ { name => 'echo' } ],
    instances => [ $agent->instance('echo') ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(7);

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone        corral 4m;
    corral_state_file  %%TESTDIR%%/gateway.state;

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        location / {
            corral_service_from  path;
            corral_websocket     agents;
            corral_close_timeout  1s;
        }

        location = /status { corral_status; }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

# 4 MB and a Close, read slowly; the client that keeps talking does so for longer
# than an end may take without progress

for my $talks (0, 1) {
    my $how = $talks ? 'client talks' : 'client is silent';
    my $ws = $t->websocket('/agents/echo/', rcvbuf => 4096);

    $ws->send_text('!send 4000000 close');

    for (1 .. ($talks ? 55 : 10)) {
        sleep 0.1;
        $ws->send_text('still talking') if $talks;
        $ws->read_some(1);
    }

    my $f = $ws->read_frame(10);
    is($f ? length $f->{payload} : 'cut, ' . length $ws->{in}, 4_000_000,
        "all of 4 MB, $how");
    is($ws->close_code(), 1000, "and the close, $how");
}

# the other way: the client sends 4 MB and leaves

$agent->set(echo => 0);
my $ws = $t->websocket('/agents/echo/');
$ws->send_raw($ws->frame(BINARY, 'x' x 4_000_000) . $ws->frame(CLOSE,
    pack 'n', 1000), 10);
$ws->shutdown_write();
ok(wait_for(sub { ($agent->frames())[-1]{opcode} == CLOSE }, 10),
    'close of a client that leaves');
my ($last) = grep { $_->{opcode} == BINARY } reverse $agent->frames();
is($last->{size}, 4_000_000, 'all of its 4 MB');
ok($ws->ended(), 'disconnected');

###############################################################################
