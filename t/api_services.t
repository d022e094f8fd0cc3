#!/usr/bin/perl

# Services over REST: create, read, change in three ways, delete; validation,
# revisions, pages.

use warnings;
use strict;

use Test::More;
use FindBin;
use lib "$FindBin::Bin/lib";

use Test::Corral::Rest;

my $d = Test::Corral::Rest->new()->start();
my $r;

sub problem { "$r->{status} " . ($r->{json}{code} // '') }

###############################################################################

# create

$r = $d->call('POST', '/api/v1/services', { name => 'echo',
    command => ['/bin/cat'], env => { KEY => 'secret' }, tags => ['a', 'b'],
    labels => { tier => 'gold' }, nonsense => 1 });

is($r->{status}, 201, 'created');
like($r->{headers}{warning}, qr/ignored: nonsense/, 'ignored is told');
is($r->{headers}{location}, "/api/v1/services/$r->{json}{service_id}",
    'location');
is($r->{json}{env}{KEY}, '[hidden]', 'a secret is not shown');
is($r->{json}{listen}, 'unix', 'default with a command');
is($r->{json}{status}, 'stopped', 'nothing runs yet');
is($r->{json}{endpoint}, 'ws://127.0.0.1:9090/agents/echo', 'endpoint');

my $id = $r->{json}{service_id};

$r = $d->call('POST', '/api/v1/services?strict=1', { name => 'b', foo => 1 });
is(problem(), '422 VALIDATION_FAILED', 'strict on request');

$r = $d->call('POST', '/api/v1/services', { name => 'echo' });
is(problem(), '409 NAME_TAKEN', 'the name is taken');
is($r->{json}{detail}, "the name \"echo\" is taken: the service $id has it",
    'which name, and by whom');

$r = $d->call('POST', '/api/v1/services', { name => 'a/b', port => 0,
    restart => 'sometimes' });
is(problem(), '422 VALIDATION_FAILED', 'invalid');
is_deeply([ sort map { $_->{pointer} } @{ $r->{json}{errors} } ],
    [ '/name', '/port', '/restart' ], 'all that is wrong is told');
is($d->call('GET', '/api/v1/services')->{json}{total}, 1,
    'nothing of it was made');

# read

is($d->call('GET', "/api/v1/services/$_")->{json}{service_id}, $id, "by $_")
    for 'echo', $id, '%65cho';

$r = $d->call('GET', '/api/v1/services/echo?fields=name,status');
is_deeply($r->{json}, { name => 'echo', status => 'stopped' }, 'fields');

$r = $d->call('GET', '/api/v1/services/nobody');
is(problem(), '404 SERVICE_NOT_FOUND', 'not there');
like($r->{headers}{'content-type'}, qr{application/problem\+json},
    'a problem document');

# merge-patch

$r = $d->call('PATCH', '/api/v1/services/echo', { description => 'x',
    env => { B => '2' }, readiness_probe => { type => 'tcp' } });
is($r->{status}, 200, 'patched');
is_deeply($r->{json}{env}, { KEY => '[hidden]', B => '[hidden]' },
    'objects are merged');
is($r->{json}{readiness_probe}{timeout}, '5s', 'defaults of a probe');
is($r->{json}{generation}, 1, 'another environment is another generation');

$r = $d->call('PATCH', '/api/v1/services/echo', { description => undef,
    env => { B => undef }, tags => ['c'] });
is($r->{json}{description}, '', 'null is the default');
is_deeply($r->{json}{env}, { KEY => '[hidden]' }, 'null takes a member away');

$r = $d->call('PATCH', '/api/v1/services/echo', { tags => ['d'] });
is($r->{json}{generation}, 2, 'other tags are not');

for ([ { nme => 'x' }, 'is "name" meant' ], [ { name => undef }, 'required' ],
    [ { generation => 9 }, 'set by corrald' ],
    [ { env => { NEW => '[hidden]' } }, 'there already' ])
{
    $r = $d->call('PATCH', '/api/v1/services/echo', $_->[0]);
    is(problem(), '422 VALIDATION_FAILED', "refused: $_->[1]");
    like($r->{json}{detail}, qr/\Q$_->[1]/, 'and why');
}

# a mirror is another service that is there, or was named before

$r = $d->call('PATCH', '/api/v1/services/echo', { mirror => 'nobody' });
is(problem(), '422 VALIDATION_FAILED', 'an unknown mirror');
is($r->{json}{errors}[0]{pointer}, '/mirror', 'is named');
like($r->{json}{detail}, qr/"nobody": there is no such service/, 'and why');

$r = $d->call('PATCH', '/api/v1/services/echo', { mirror => 'echo' });
like($r->{json}{detail}, qr/"echo", the service itself/, 'itself');

$r = $d->call('POST', '/api/v1/services', { name => 'm', mirror => 'm' });
is(problem(), '422 VALIDATION_FAILED', 'nor a new one');

$d->call('POST', '/api/v1/services', { name => 'm', command => ['/bin/cat'] });
$r = $d->call('PATCH', '/api/v1/services/echo', { mirror => 'm',
    mirror_percent => 101 });
like($r->{json}{detail}, qr/must be from 0 to 100/, 'more than all');

$r = $d->call('PATCH', '/api/v1/services/echo', { mirror => 'm',
    mirror_percent => 5 });
is("$r->{status} $r->{json}{mirror} $r->{json}{mirror_percent}", '200 m 5',
    'set');

$d->call('DELETE', '/api/v1/services/m');
$r = $d->call('PATCH', '/api/v1/services/echo', { mirror_percent => 6 });
is("$r->{status} $r->{json}{mirror}", '200 m', 'one that was deleted stays');

$r = $d->call('PATCH', '/api/v1/services/echo', { mirror => undef,
    mirror_percent => undef });
is("$r->{json}{mirror} $r->{json}{mirror_percent}", ' 100', 'none any more');

# put: merges as MyAgent's, or replaces

$r = $d->call('PUT', '/api/v1/services/echo', { max_sessions => 5,
    description => undef, whatever => 1 });
is($r->{status}, 200, 'put merges');
is($r->{json}{max_sessions}, 5, 'what is given');
is_deeply($r->{json}{tags}, ['d'], 'what is not stays');

my $got = $d->call('GET', '/api/v1/services/echo');
$r = $d->call('PUT', '/api/v1/services/echo?replace=1', $got->{json});
is($r->{status}, 200, 'what was read is written back');
is($r->{json}{revision}, $got->{json}{revision}, 'and changes nothing');

$d->call('PUT', '/api/v1/services/echo/scale', { replicas => 3 });

$r = $d->call('PUT', '/api/v1/services/echo?replace=1&dry_run=1',
    { command => ['/bin/cat'] });
is_deeply([ sort @{ $r->{json}{changed} } ],
    [ sort qw/env generation labels max_sessions readiness_probe tags/ ],
    'a dry run says what would change');
is($d->call('GET', '/api/v1/services/echo')->{json}{max_sessions}, 5,
    'and changes nothing');

$r = $d->call('PUT', '/api/v1/services/echo?replace=1',
    { command => ['/bin/cat'] });
is($r->{json}{max_sessions}, 0, 'replaced: back to the default');
is($r->{json}{replicas}, 3, 'what an action set stays');

$r = $d->call('PUT', '/api/v1/services/new?replace=1', {});
is($r->{status}, 201, 'put creates');
$r = $d->call('PUT', '/api/v1/services/new?replace=1', {},
    'If-None-Match' => '*');
is(problem(), '412 PRECONDITION_FAILED', 'only creates');
$r = $d->call('PUT', '/api/v1/services/other?replace=1', {},
    'If-Match' => '*');
is(problem(), '412 PRECONDITION_FAILED', 'only replaces');

# revisions

$got = $d->call('GET', '/api/v1/services/new');
is($got->{headers}{etag}, "\"$got->{json}{revision}\"", 'etag');

$r = $d->call('PATCH', '/api/v1/services/new', { description => '1' },
    'If-Match' => $got->{headers}{etag});
is($r->{status}, 200, 'the revision fits');
$r = $d->call('PATCH', '/api/v1/services/new', { description => '2' },
    'If-Match' => $got->{headers}{etag});
is(problem(), '412 PRECONDITION_FAILED', 'it does not any more');
is($d->call('DELETE', '/api/v1/services/new', undef,
    'If-Match' => $got->{headers}{etag})->{status}, 412, 'nor for deletion');
is($d->call('GET', '/api/v1/services/new')->{json}{description}, '1',
    'nothing was changed');

my $list = $d->call('GET', '/api/v1/services');
is($d->call('GET', '/api/v1/services', undef,
    'If-None-Match' => $list->{headers}{etag})->{status}, 304, 'not modified');

# lists

$d->call('POST', '/api/v1/services', { name => sprintf('p%02d', $_),
    labels => { n => $_ % 2 ? 'odd' : 'even' } }) for 1 .. 20;

$r = $d->call('GET', '/api/v1/services?limit=5&name=p');
is($r->{json}{total}, 20, 'total');
ok($r->{json}{has_more}, 'there are more');

my (@names, $cursor);

for my $page (1 .. 9) {
    $r = $d->call('GET', '/api/v1/services?limit=6&name=p'
        . ($cursor ? "&cursor=$cursor" : ''));
    push @names, map { $_->{name} } @{ $r->{json}{items} };
    $d->call('POST', '/api/v1/services', { name => 'p00' }) if $page == 1;
    $cursor = $r->{json}{next_cursor} // last;
}

is_deeply(\@names, [ map { sprintf 'p%02d', $_ } 1 .. 20 ],
    'pages neither shift nor repeat while others create');

is($d->call('GET', '/api/v1/services?labels=n=odd')->{json}{total}, 10,
    'by label');
is($d->call('GET', '/api/v1/services?labels=tier')->{json}{total}, 0,
    'by the key of a label');
is($d->call('GET', '/api/v1/services?status=running')->{json}{total}, 0,
    'by status');
is($d->call('GET', '/api/v1/services?name=p&sort=-name')->{json}{items}[0]{name},
    'p20', 'descending');

for (qw/limit=0 limit=1001 limit=x offset=-1 cursor=zz sort=size status=odd/) {
    $r = $d->call('GET', "/api/v1/services?$_");
    is(problem(), '400 INVALID_PARAMETER', $_);
}

# delete

$r = $d->call('DELETE', '/api/v1/services/new');
is($r->{status}, 200, 'deleted');
ok($r->{json}{success}, 'as MyAgent says it');
is($d->call('GET', '/api/v1/services/new')->{status}, 404, 'gone');
is($d->call('POST', '/api/v1/services', { name => 'new' })->{status}, 201,
    'its name is free');

###############################################################################

$d->finish();

done_testing();
