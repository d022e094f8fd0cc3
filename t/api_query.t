#!/usr/bin/perl

# What is asked for: a parameter that an operation does not have changes nothing,
# since a misspelled dry_run would be no dry run; what is wrong is named.

use warnings;
use strict;

use Test::More;
use FindBin;
use lib "$FindBin::Bin/lib";

use Test::Corral::Rest;

my $d = Test::Corral::Rest->new()->start();
my $api = '/api/v1';
my $r;

$d->call('POST', "$api/routes", { name => 'r' });

###############################################################################

for ([ 'POST', 'routes?dryrun=1', { name => 'x' }, 'dry_run wait timeout' ],
    [ 'PATCH', 'routes/r?dry-run=1', { priority => 5 }, 'dry_run wait' ],
    [ 'DELETE', 'routes/r?dry_run=1', undef, 'wait timeout' ],
    [ 'POST', 'routes/r/actions/disable?force=1', undef, 'wait timeout' ],
    [ 'GET', 'instances?stat=running', undef, 'state health node service' ],
    [ 'GET', 'routes?imit=5', undef, 'enabled name service tags limit' ],
    [ 'GET', 'routes?=5', undef, 'enabled' ])
{
    my ($method, $path, $body, $words) = @$_;
    $r = $d->call($method, "$api/$path", $body);
    is("$r->{status} $r->{json}{code}", '400 INVALID_PARAMETER',
        "$method $path");
    like($r->{json}{detail}, qr/ is not a parameter here, there can be: $words/,
        'with those that it has');
}

like($d->call('GET', "$api/operations/x?a")->{json}{detail},
    qr/^"a" is not a parameter here, there can be: wait$/, 'without a value');
like($d->call('GET', "$api/explain/x?a=1")->{json}{detail},
    qr/^"a" is not a parameter here, there is none$/, 'where there is none');

$r = $d->call('GET', "$api/routes")->{json};
is(join(' ', map { "$_->{name} $_->{priority} $_->{enabled}" }
    @{ $r->{items} }), 'r 100 1', 'nothing has changed');

# MyAgent's clients are told, others that ask for it are refused

$r = $d->call('GET', "$api/services?page=1");
is($r->{status}, 200, 'compat: ignored');
like($r->{headers}{warning}, qr/ignored: parameter page/, 'and told');
is($d->call('POST', "$api/services?strict=1&dryrun=1", { name => 'x' })
    ->{status}, 400, 'not with strict=1');
is($d->call('GET', '/healthz?from=lb')->{status}, 200, 'probes may add some');

# names that no answer could say, and words that say what was wrong

for my $path ('services/%ff', 'routes/a%C3', 'services/%00',
    'instances/x%zz/history')
{
    $r = $d->call('GET', "$api/$path");
    is("$r->{status} $r->{json}{code}", '400 BAD_REQUEST', $path);
}

for ([ 'routes/actions/reorder', { order => ['r'], begin => 1 },
        '"begin" is not a member: there are order, start, step' ],
    [ 'routes/actions/reorder', { order => [5] },
        'item 0 of "order" must be a string' ],
    [ 'routes/actions/reorder', { order => ['r'], start => 'a' },
        '"start" is "a", it must be an integer from -1000000 to 1000000' ],
    [ 'routes/actions/reorder', { order => ['r'], start => ~0 >> 1 },
        '"start" is 9223372036854775807, it must be an integer' ],
    [ 'routes/actions/reorder', { order => ['r'], step => 0 },
        '"step" is 0, it must be an integer from 1 to 1000' ],
    [ 'revocations', { revocation_id => 'x:y' }, '"revocation_id" is "x:y", ' ],
    [ 'revocations', { revocation_id => 'token:y', expires_at => 'soon' },
        '"expires_at" is "soon", it must be a time to come' ],
    [ 'connections/00c0ffee00000001/actions/renew', { expires_at => 'soon' },
        '"expires_at" is "soon", it must be a time to come' ],
    [ 'connections/00c0ffee00000001/actions/renew',
        { expires_at => '2040-01-01T00:00:00Z' },
        'there is no connection "00c0ffee00000001"' ])
{
    like($d->call('POST', "$api/$_->[0]", $_->[1])->{json}{detail} // '',
        qr/^\Q$_->[2]/, $_->[2]);
}

# every change can be waited for

is($d->call('DELETE', "$api/routes/r?wait=applied&timeout=1s")->{status}, 200,
    'wait and timeout');

###############################################################################

$d->finish();

done_testing();
