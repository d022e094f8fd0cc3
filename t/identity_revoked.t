#!/usr/bin/perl

# Tests for what is under way when its token, subject or session is revoked:
# answers, event streams with and without a client, and requests that wait; and
# for event streams that belong to who began them.

###############################################################################

use warnings;
use strict;

use Test::More;
use IO::Select;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Store;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()
    ->has(qw/corral corral_redis corral_websocket corral_metrics redis-server/);
my $agent = $t->agent(id => 'a', socket => 'a.sock');
my $redis = $t->redis();
my $store = Test::Corral::Store->new($redis);

$t->write_file_expand('nginx.conf', <<"EOF")->plan(28);

%%TEST_GLOBALS%%

worker_processes  1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone   corral 4m;
    corral_redis  "unix:$redis";

    log_format  short  "\$request_uri \$status";
    access_log  %%TESTDIR%%/access.log  short;

    limit_conn_zone  \$binary_remote_addr  zone=held:1m;

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        proxy_http_version    1.1;
        proxy_set_header      Connection "";
        corral_service_from   path;
        corral_token_id       \$arg_jti;
        corral_subject        \$arg_sub;
        corral_tenant         \$arg_tenant;
        corral_ping_interval  0;

        location / {
            corral_websocket  agents;
            proxy_pass        http://agents;
        }

        # nginx keeps the request of such a WebSocket

        location /agents/many/held {
            limit_conn        held 100;
            corral_websocket  agents;
            proxy_pass        http://agents;
        }

        location = /status {
            corral_service  off;
            corral_status;
        }

        location = /metrics {
            corral_service  off;
            corral_metrics;
        }
    }
}

EOF

my $n = 0;

$store->epoch('first');
$store->commit(
    $store->service('many', sse_resume => JSON::PP::true, sse_run_on => '60s'),
    $store->instance('many', 'a', $agent->address()),
    $store->service('one', queue_size => 10, queue_timeout => '20s',
        max_sessions => 1),
    $store->instance('one', 'b', $agent->address()));
$t->run();
$store->wait_acks(1, 1) // die "The gateway does not follow\n";

###############################################################################

# answers under way

my $stream = start('/agents/many/sse?sub=eve');
my $other = start('/agents/many/sse?sub=bob');
my $hang = start('/agents/many/hang?jti=t1');
my $held = $t->websocket('/agents/many/held?sub=eve', timeout => 10);
my $free = $t->websocket('/agents/many/ws?sub=bob', timeout => 10);

like(read_on($stream, qr/"n":1\}/), qr/"n":1\}/, 'a stream');
like(read_on($other, qr/"n":1\}/), qr/"n":1\}/, 'of another subject, too');
$held->ask('!id');
$free->ask('!id');

revoke('subject:eve');
is(cut_off($stream), 1, 'the stream ends, and not as a whole one');
is($held->close_code(), 4401, 'a WebSocket that limit_conn holds ends as any');

revoke('token:t1');
is(read_on($hang, undef), '', 'a request without an answer ends');
like($t->wait_for_log(qr{^/agents/many/hang\S* 444}m, 'access.log'), qr/ 444/,
    'and is logged');

like(read_on($other, qr/"n":\d+\}/), qr/"n":/, 'others go on');
is($free->ask('still'), 'still', 'of any kind');

is(service('many')->{cut_revoked}, 2, 'both are counted');
is(service('many')->{closes_revoked}, 1, 'the WebSocket by itself');
like(http_get('/metrics'),
    qr/^corral_service_cut_revoked_total\{service="many"\} 2$/m, 'metric');

# requests that wait

my $first = $t->websocket('/agents/one/ws', timeout => 10);
$first->ask('!id');

my %waits = map { $_ => start("/agents/one/?sub=$_") } qw/ann tim/;
ok(wait_for(sub { service('one')->{waiting} == 2 }, 5), 'two wait');
revoke('subject:ann');
like(read_on($waits{ann}, undef), qr/^HTTP\/1.1 401 .*token_revoked/s,
    'one is refused');
is(service('one')->{waiting}, 1, 'and waits no more');
is(service('one')->{queue_timeouts}, 0, 'its time was not over');
is(service('one')->{revoked}, 1, 'it is counted');
$first->close();
like(read_on($waits{tim}, undef), qr/^HTTP\/1.1 200 /, 'the other one is served');

# a stream without a client

my $alone = start('/agents/many/sse?sub=joe');
my ($run) = read_on($alone, qr/"n":2\}/) =~ /^Corral-Run: ([0-9a-f]{32})/m;
close $alone;
ok(wait_for(sub { count('many', 'active') == 3 }, 5), 'it runs on');

# it belongs to who began it

like(resume($run, 'sub=bob'), qr/"reason":"unknown"/, 'not to another one');
like(resume($run, ''), qr/"reason":"unknown"/, 'nor to nobody');
like(resume($run, 'sub=joe&tenant=t'), qr/"reason":"unknown"/,
    'nor to one of that name elsewhere');
like(resume($run, 'sub=joe', qr/"n":2\}/), qr/"n":2\}/, 'he himself has it');

my $reader = start("/agents/many/sse?sub=joe", "Last-Event-ID: $run-0");
like(read_on($reader, qr/"n":2\}/), qr/"n":2\}/, 'and reads on');

revoke('subject:joe');
is(cut_off($reader), 1, 'until he is revoked');
ok(wait_for(sub { count('many', 'active') == 2 }, 5), 'then the agent stops');
is(service('many')->{cut_revoked}, 4, 'his stream and his reading of it');

# many at once

my @many = map { start("/agents/many/sse?session=x&sub=m$_&jti=all") } 1 .. 50;
read_on($_, qr/"n":1\}/) for @many;
revoke('token:all');
is(scalar(grep { cut_off($_) } @many), 50, 'fifty');
is(service('many')->{cut_revoked}, 54, 'are counted');

close $_ for $other, @many;
$free->close();

###############################################################################

sub start {
    my ($uri, @headers) = @_;
    return http(join("\r\n", "GET $uri HTTP/1.1", 'Host: localhost',
        'Connection: close', @headers, '', ''), start => 1);
}

# Up to the pattern, or up to the end.

sub read_on {
    my ($s, $until) = @_;
    return http_read($s, timeout => 10, until => $until);
}

# Has it ended, without the last chunk?

sub cut_off {
    my ($s) = @_;
    my $got = read_on($s, undef);
    my $end = IO::Select->new($s)->can_read(0) && !sysread $s, my $more, 1;
    return $end && $got !~ /\r\n0\r\n\r\n$/ ? 1 : 0;
}

sub resume {
    my ($run, $query, $until) = @_;
    my $s = start("/agents/many/sse?$query", "Last-Event-ID: $run-0");
    my $got = read_on($s, $until);
    close $s;
    return $got;
}

sub revoke {
    my ($name) = @_;
    $store->command('ZADD', $store->key('revocations'), time() + 3600, $name);
    $store->command('SET', $store->key('revoked'), '0123456789abcdef.' . ++$n);
}

sub service {
    my ($name) = @_;
    return (grep { $_->{name} eq $name } @{ $t->status()->{services} })[0];
}

sub count {
    my ($name, $field) = @_;
    my $sum = 0;
    $sum += $_->{$field} for @{ service($name)->{instances} };
    return $sum;
}

###############################################################################
