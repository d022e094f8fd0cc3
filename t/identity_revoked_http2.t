#!/usr/bin/perl

# Tests for streams of one HTTP/2 connection of which one is revoked: its end is
# told at once, although the others have nothing to say.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Store;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()
    ->has(qw/corral corral_redis corral_status redis-server nghttp stdbuf/);
my $agent = $t->agent(id => 'a', socket => 'a.sock');
my $redis = $t->redis();
my $store = Test::Corral::Store->new($redis);

$t->write_file_expand('nginx.conf', <<"EOF")->plan(5);

%%TEST_GLOBALS%%

worker_processes  1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone   corral 4m;
    corral_redis  "unix:$redis";

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8081 http2;
        listen  127.0.0.1:8080;

        proxy_http_version   1.1;
        proxy_set_header     Connection "";
        corral_service_from  path;
        corral_subject       \$arg_sub;

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

$store->epoch('first');
$store->commit($store->service('many'),
    $store->instance('many', 'a', $agent->address()));
$t->run();
$store->wait_acks(1, 1) // die "The gateway does not follow\n";

###############################################################################

my @urls = map { 'http://127.0.0.1:' . port(8081) . "/agents/many/hang?sub=$_" }
    qw/ann bob tim/;

my $pid = open my $client, '-|', 'exec stdbuf -oL nghttp -v '
    . join(' ', map { "'$_'" } @urls) . ' 2>&1';

ok(wait_for(sub { $agent->stats()->{requests} == 3 }, 5), 'three streams');
is(service()->{instances}[0]{active}, 3, 'are with the agent');

$store->command('ZADD', $store->key('revocations'), time() + 3600,
    'subject:bob');
$store->command('SET', $store->key('revoked'), '0123456789abcdef.1');

ok(wait_for(sub { service()->{cut_revoked} == 1 }, 5), 'one is revoked');
like(http_read($client, timeout => 5, until => qr/recv RST_STREAM/),
    qr/recv RST_STREAM/, 'its client is told');
is(service()->{instances}[0]{active}, 2, 'the others go on');

kill 'KILL', $pid;
close $client;

###############################################################################

sub service { $t->status()->{services}[0] }

###############################################################################
