#!/usr/bin/perl

# The second walk: one change, from the REST API to every nginx worker, without
# a reload.  Read it beside docs/architecture.md, "One change".

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Stack;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corrald redis-server/);
my $s = Test::Corral::Stack->new($t);
my $d = $s->d();

$t->plan(26 + 3);
$s->start(2);

###############################################################################

# there is nothing yet, and both workers say so

like(http_get('/agents/echo/'), qr/ 404 .*service_not_found/s, 'nothing yet');

# a service: its instances run, are probed, and the gateway has them

my @i = $s->echo('echo', 2);
is(scalar @i, 2, 'two instances are ready');

my $ws = $t->websocket('/agents/echo/');
is($ws->ask('hello'), 'hello', 'and serve');

# wait=applied: when the answer is there, every worker serves from it

my $r = $d->api('PATCH', '/services/echo?wait=applied',
    { upstream_host => 'agent.example' });
is($d->{http}, 200, 'patched and applied');

# what instances tell goes on raising it meanwhile

ok(wait_for(sub {
    my %revision = map { $_->{worker} => $_->{revision} } $s->workers();
    my %n = map { $_ => 1 } values %revision;
    keys %revision == 2 && keys %n == 1;
}, 10), 'both workers say the same revision');

my $old = 0;

for (1 .. 8) {
    $old++ unless http_get('/agents/echo/') =~ /agent\.example/;
}

is($old, 0, 'no request was served from before the change');

# a change for one service leaves the connections of all alone

is($ws->ask('still here'), 'still here', 'the connection lives on');

# out of routing and back, the process untouched

$r = $d->api('POST', '/services/echo/actions/pause?wait=applied');
ok($r->{applied}{applied}, 'pause is an operation, and applied');
like(http_get('/agents/echo/'), qr/ 503 .*it is paused/s, 'paused');
is($ws->ask('still here'), 'still here', 'the connection lives on');
$d->api('POST', '/services/echo/actions/resume?wait=applied');
ok(wait_for(sub { http_get('/agents/echo/') =~ / 200 / }, 15), 'resumed');
is_deeply([ sort map { $_->{pid} } $d->instances('echo') ],
    [ sort map { $_->{pid} } @i ], 'by the same processes');

# more instances take their share

$d->api('PUT', '/services/echo/scale', { replicas => 3 });
is($d->{http}, 202, 'scaled, an operation');
@i = $d->wait_running('echo', 3);

ok(wait_for(sub { keys %{ $s->counted('echo') } == 3 }),
    'the gateway has the third');

# what is wrong is told, and changes nothing

my $before = wanted();

$r = $d->api('PATCH', '/services/echo', { replicas => -1 });
is($d->{http}, 422, 'a bad value');
like($r->{detail}, qr/replicas.*0 to 1000/, 'with the field and its bounds');

$r = $d->api('PATCH', '/services/echo', { replica => 1 });
is($d->{http}, 422, 'an unknown field');
like($r->{detail}, qr/"replica"/, 'with its name');

$r = $d->api('POST', '/services', { name => 'echo', command => ['/bin/true'] });
is($d->{http}, 409, 'a name that is taken');

is_deeply(wanted(), $before, 'nothing has changed');

# gone: new requests do not find it; its connections are ended with a reason

$d->api('DELETE', '/services/echo?grace=1s');
ok($d->{http} < 300, 'deleted');
is($ws->close_code(), 1012, 'its connection is told to come again');
like($ws->close_reason(), qr/^the instance is stopped retry_after=\d+$/,
    'by the gateway, before the agent had to end');
ok(wait_for(sub { http_get('/agents/echo/') =~ / 404 / }, 15), 'not found');
ok(wait_for(sub { !grep { -e "/proc/$_->{pid}" } @i }, 10), 'no process');
is(scalar @{ $d->api('GET', '/services')->{items} }, 0, 'no service');

$s->finish();

###############################################################################

# What the service is to be; how it is may change at any time.

sub wanted {
    my $doc = $d->api('GET', '/services/echo');
    return { map { $_ => $doc->{$_} } qw/updated_at replicas generation/ };
}

###############################################################################
