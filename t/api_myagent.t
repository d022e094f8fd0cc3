#!/usr/bin/perl

# All seventeen operations of the MyAgent manager against a running stack, with
# the bodies that it documents: what its defects were about is asserted on real
# processes, connections and numbers.  Forms alone are in api_compat.t.

###############################################################################

use warnings;
use strict;

use File::Copy qw/copy/;
use JSON::PP;
use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Daemon qw/alive/;
use Test::Corral::Stack;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corrald redis-server/);
my $s = Test::Corral::Stack->new($t,
    myagent_command => 'python3 {path} --listen {host}:{port}');
my $d = $s->d();
my $dir = $d->dir();

$t->plan(51 + 3);
$s->start(1);
$s->echo('other', 1);           # its program lies in $dir, too

my $true = JSON::PP::true;
my $false = JSON::PP::false;
my $r;

sub api {
    my ($status, @args) = @_;

    $r = $d->api(@args);
    is($d->{http}, $status, "$args[0] $args[1]") or diag(explain($r));
}

###############################################################################

# 1, 2: health, info

$r = decode_json(HTTP::Tiny->new()->get("http://127.0.0.1:$d->{port}/health")
    ->{content});
is($r->{status}, 'healthy', 'health');
api(200, 'GET', '/info');
ok($r->{name} && $r->{version} && $r->{description}, 'info');

# 3: ServiceCreateRequest, all of its members

api(201, 'POST', '/services', { name => 'mine',
    agent_factory_path => "$dir/echo/agent.py", host => 'localhost',
    port => undef, description => 'it', tags => [ 'a', 'b' ],
    auto_start => $true, max_sessions => 3, session_timeout => 1800,
    auto_restart => $true, max_restart_count => 3,
    health_check_enabled => $true });
ok($r->{status} eq 'starting' || $r->{status} eq 'running',
    'auto_start shows in the answer');

my $id = $r->{service_id};

ok(wait_for(sub { $d->api('GET', "/services/$id")->{status} eq 'running' }, 30),
    'it runs');
api(409, 'POST', '/services', { name => 'mine',
    agent_factory_path => "$dir/echo/agent.py" });
like($r->{detail}, qr/"mine" is taken: the service \Q$id\E has it/,
    'whose it is');
api(422, 'POST', '/services', { agent_factory_path => '/x' });
api(422, 'POST', '/services', { name => 'x', agent_factory_path => '/x',
    port => 'high' });

# 4: pages and totals, with a filter (defect 18)

$d->api('POST', '/services', { name => "page-$_", tags => [ 'p' . $_ % 2 ],
    agent_factory_path => "$dir/echo/agent.py" }) for 1 .. 6;

api(200, 'GET', '/services?tags=p1&limit=2&offset=0');
is(join(' ', scalar @{ $r->{items} }, @$r{qw/total limit offset/},
    $r->{has_more} ? 1 : 0), '2 3 2 0 1', 'a page of those with a tag');
api(200, 'GET', '/services?tags=p1&limit=2&offset=2');
is(join(' ', scalar @{ $r->{items} }, $r->{total}, $r->{has_more} ? 1 : 0),
    '1 3 0', 'the last one');
api(200, 'GET', '/services?status=running');
is(join(' ', sort map { $_->{name} } @{ $r->{items} }), 'mine other',
    'by status');

# 5, 6: one; ServiceUpdateRequest

api(200, 'GET', "/services/$id");
is(join('|', @$r{qw/name description restart_count/}), 'mine|it|0', 'one');
api(200, 'PUT', "/services/$id", { description => 'new', tags => [ 'c' ],
    max_sessions => 2 });
is("$r->{description} @{ $r->{tags} } $r->{max_sessions}", 'new c 2', 'changed');
api(404, 'PUT', '/services/nobody', { description => 'x' });

# 7, 8: connections and stats are true (defect 16), max_sessions is a limit

my @ws = map { $t->websocket("/agents/mine/?session_id=s$_") } 1 .. 2;
is(join(' ', map { $_->ask('hello') } @ws), 'hello hello', 'two sessions');

my $third = $t->websocket('/agents/mine/?session_id=s3');
isnt($third->status(), 101, 'max_sessions: no third one');

ok(wait_for(sub {
    $r = $d->api('GET', '/connections');
    2 == grep { $_->{message_count} > 0 } @{ $r->{items} };
}, 20), 'connections');

my ($c) = grep { $_->{session_id} eq 's1' } @{ $r->{items} };

is(join(' ', @$c{qw/client_ip target_service_id status/}),
    "127.0.0.1 $id active", 'with session and service');
ok($c->{bytes_sent} > 0 && $c->{bytes_received} > 0, 'and bytes');

api(200, 'GET', "/services/$id/stats");
is($r->{active_connections}, 2, 'stats');
cmp_ok($r->{uptime_seconds}, '>', 0, 'uptime');
api(200, 'GET', '/stats');
is($r->{connections}{total_connections}, 2, 'stats of all');

# 9: DELETE ends what it deletes (defect 5)

api(200, 'DELETE', "/connections/$c->{connection_id}");
is($r->{message}, "Connection $c->{connection_id} disconnected successfully",
    'its message');
ok($ws[0]->close_code(5), 'its client is told');
is($ws[1]->ask('still'), 'still', 'the other one is not');

# 10: health asks the agent now

api(200, 'GET', "/services/$id/health");
is($r->{status}, 'healthy', 'health of a service');

# 11 to 13: stop, start, restart

$ws[1]->close();

my ($before) = $d->instances('mine');

for ([ restart => 'restarted' ], [ stop => 'stopped' ], [ start => 'started' ]) {
    api(200, 'POST', "/services/$id/$_->[0]");
    is($r->{message}, "Service $_->[1] successfully", 'its message');
}

ok(!alive($before->{pid}), 'the process of before is gone');

# 14, 15: rules; one of the same name replaces nothing (defect 18)

api(201, 'POST', '/routing/rules', { name => 'r', priority => 100,
    enabled => $true, target_strategy => 'round_robin',
    target_services => [ 'mine' ], target_tags => [], weight => 1,
    description => 'first' });
api(409, 'POST', '/routing/rules', { name => 'r', description => 'second' });
api(200, 'GET', '/routing/rules');
is($r->{items}[0]{description}, 'first', 'the first one stays');

# 16: DELETE of a service ends its processes

my ($last) = $d->instances('mine');

api(200, 'DELETE', "/services/$id");
ok(wait_for(sub { !alive($last->{pid}) }, 20), 'no process is left');
api(404, 'DELETE', "/services/$id");

$s->finish();

###############################################################################
