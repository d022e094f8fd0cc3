#!/usr/bin/perl

# Tests for the queue of the wait step over HTTP/2, where a request is a stream.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

plan(skip_all => 'no curl with HTTP/2')
    if (`curl --version 2>/dev/null` // '') !~ /HTTP2/;

my $t = Test::Corral->new()->has(qw/corral corral_status/);

my $agent = $t->agent(id => 'one.1', socket => 'one.sock');

$t->state_file(
    services => [ { name => 'one', max_sessions => 1, queue_size => 3,
        queue_timeout => '2s' } ],
    instances => [ $agent->instance('one') ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(5);

%%TEST_GLOBALS%%

worker_processes  1;

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
        listen  127.0.0.1:8081 http2;
        listen  127.0.0.1:8080;

        proxy_http_version   1.1;
        proxy_set_header     Connection "";
        proxy_buffering      off;
        corral_service_from  query;

        location / {
            proxy_pass  http://agents;
        }

        location = /status {
            corral_service  off;
            corral_status;
        }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

my $curl = 'exec curl -sS -i --http2-prior-knowledge http://127.0.0.1:'
    . port(8081) . "'/?service=one' 2>&1";

my $held = hold();
open my $h2, '-|', $curl;
is(waits(1), 1, 'a stream waits');
close $held;
like(join('', <$h2>), qr{^HTTP/2 200.*"agent"}s, 'and is served');

$held = hold();
like(`$curl`, qr{^HTTP/2 503.*queue_timeout}s, 'waits in vain');

my $pid = open $h2, '-|', $curl;
is(waits(1), 1, 'waits again');
kill 'KILL', $pid;
is(waits(0), 0, 'its client leaves');

###############################################################################

# The one place, held by an event stream.

sub hold {
    my $s = http("GET /sse?service=one HTTP/1.1\r\nHost: a\r\n\r\n",
        start => 1);
    http_read($s, until => qr/data: /);
    return $s;
}

sub waits {
    my ($n) = @_;
    my $now;
    wait_for(sub { ($now = $t->status()->{services}[0]{waiting}) == $n });
    return $now;
}
