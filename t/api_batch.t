#!/usr/bin/perl

# One action on many services: a result for each that was named, and what does
# not say clearly which services are meant is refused, and changes none.

use warnings;
use strict;

use Test::More;
use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP;

use Test::Corral::Rest;

my $d = Test::Corral::Rest->new()->start();
my $true = JSON::PP::true;
my $r;

sub act {
    my ($action, $body) = @_;
    $r = $d->call('POST', "/api/v1/services/actions/$action", $body);
    return $r->{status};
}

# names of those that are to run

sub wanted {
    return join ' ', map { $_->{name} } grep { $_->{desired} eq 'running' }
        @{ $d->call('GET', '/api/v1/services')->{json}{items} };
}

sub results {
    return join ' ', sort map { "$_->{name}:$_->{status}" }
        @{ $r->{json}{items} };
}

$d->call('POST', '/api/v1/services', { name => $_,
    tags => [ $_ eq 'c' ? 'red' : 'blue' ], labels => { name => $_,
    tier => $_ eq 'a' ? 'gold' : 'iron' } }) for 'a' .. 'c';

###############################################################################

# what is wrong changes nothing

for ([ {}, 'say which services' ], [ { all => JSON::PP::false }, 'say which' ],
    [ { status => 'stopped' }, 'say which' ],
    [ { ids => 'a' }, '"ids" must be an array of 1 to 1000' ],
    [ { ids => [] }, '"ids" must be' ], [ { ids => [ 'a', 5 ] }, '"ids" must' ],
    [ { ids => [ 'a', '' ] }, '"ids" must be' ],
    [ { labels => {} }, '"labels" must be an object' ],
    [ { labels => '' }, '"labels" must' ], [ { labels => 5 }, '"labels" must' ],
    [ { labels => { tier => 5 } }, '"labels" has "tier", its value must' ],
    [ { tags => 5 }, '"tags" must be a string' ], [ { tags => '' }, '"tags"' ],
    [ { tags => [ 'red' ] }, '"tags" must be a string' ],
    [ { all => 'yes' }, '"all" must be true or false' ],
    [ { all => $true, status => 'well' }, '"status" is "well", it can be: ' ],
    [ { all => $true, status => 5 }, '"status" is ""' ],
    [ { all => $true, ids => ['a'] }, '"all" is true, beside it' ],
    [ { ids => ['a'], replicas => 2 }, '"replicas" is not a member' ])
{
    is(act('start', $_->[0]), 422, "refused: $_->[1]");
    like($r->{json}{detail}, qr/\Q$_->[1]/, 'and why');
}

is(act('jump', { all => $true }), 404, 'no such action');
is(wanted(), '', 'none was started');

# each way to choose

is(act('start', { ids => ['a'] }), 200, 'by name');
is(results() . wanted(), 'a:202a', 'that one');
act('start', { labels => { tier => 'iron', name => 'b' } });
is(results(), 'b:202', 'by labels: all of them');
act('start', { labels => 'tier=iron,name=c' });
is(results(), 'c:202', 'by labels as text');
act('stop', { tags => 'red,green' });
is(results(), 'c:202', 'by tags: any of them');
act('stop', { ids => [ 'a', 'b' ], tags => 'red' });
is($r->{json}{total}, 0, 'all that is said must hold');
is(wanted(), 'a b', 'as it was');

# who is not there is told, the others are not stopped by it

is(act('stop', { ids => [ 'nobody', 'b' ] }), 200, 'one of two');
is(results(), 'b:202 nobody:404', 'a result for each');
is($r->{json}{failed}, 1, 'counted');
like($r->{body}, qr/there is no service \\"nobody\\"/, 'and named');
is(act('stop', { ids => ['nobody'] }), 200, 'nobody alone');
is(results(), 'nobody:404', 'is told, too');

act('stop', { all => $true });
is(results() . wanted(), 'a:202 b:202 c:202', 'all');

# lists: a word that is none is not an empty list

for ([ 'services?status=well', 'status' ], [ 'instances?state=well', 'state' ],
    [ 'instances?health=unwell', 'health' ],
    [ 'services/a/instances?state=running,well', 'state' ],
    [ 'connections?status=shut', 'status' ],
    [ 'events?follow=false&types=service_udpated', 'types' ])
{
    $r = $d->call('GET', "/api/v1/$_->[0]");
    is($r->{status}, 400, $_->[0]);
    like($r->{json}{detail}, qr/"$_->[1]" is "\S+", it can be: \w+ \w+/,
        'and why');
}

is($d->call('GET', '/api/v1/services?status=stopped,starting')
    ->{json}{total}, 3, 'several words');

###############################################################################

$d->finish();

done_testing();
