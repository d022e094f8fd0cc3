#!/usr/bin/perl

# "corral wait" and --wait come back when what was asked for is there: after a
# restart or a change of the process that is the new processes, not the old
# ones, which are ready until they are replaced.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral::Daemon;

my $d = Test::Corral::Daemon->new();
my $ctl = ($ENV{CORRAL_BUILD} // '../build/' . ($ENV{KIND} // 'release'))
    . '/corral';

plan(skip_all => 'corral is missing') unless -x $ctl;
plan(tests => 20);

$d->start();

$ENV{CORRAL_API} = "http://127.0.0.1:$d->{port}";
$ENV{CORRAL_TOKEN_FILE} = "$d->{dir}/s/token";

###############################################################################

$d->service(name => 'echo', command => $d->agent(), replicas => 2);

is(corral('wait echo --wait 20'), 0, 'both run');
is(old('echo', 0), '2 ready of 2', 'of the first generation');

is(corral('restart echo'), 0, 'restart');
is(numbers('echo')->{outdated}, 2, 'what runs is outdated at once');
is(corral('wait echo --wait 20'), 0, 'wait');
is(old('echo', 1), '2 ready of 2', 'those that run are the new ones');
is(numbers('echo')->{outdated}, 0, 'and none is outdated');

is(corral('restart echo --wait 20'), 0, 'restart and wait in one');
is(old('echo', 2), '2 ready of 2', 'the new ones again');

$d->api('PATCH', '/services/echo', { env => { X => 'y' } });
is(corral('wait echo --wait 20'), 0, 'a change of the process');
is(old('echo', 3), '2 ready of 2', 'is waited for as well');

# what will not come is told, and is told apart from what has not come yet

$d->api('PATCH', '/services/echo', { command => ['/nowhere'] });
is(corral('wait echo --wait 1'), 6, 'not there in time');
like($d->{said}, qr/^corral: echo: still replacing instances; /,
    'and what is going on');

is(corral('stop echo --yes --wait 20'), 0, 'stopped');
is(corral('start echo'), 0, 'to be started');
is(corral('wait echo --wait 30'), 7, 'it cannot be');
like($d->{said}, qr/^corral: echo: error; "corral explain echo" says why$/m,
    'where to look');

###############################################################################

sub corral {
    $d->{said} = `$ctl $_[0] 2>&1 < /dev/null`;
    return $? >> 8;
}

sub numbers { $d->api('GET', "/services/$_[0]")->{instances} }

# how many are ready, of all that live, if they are of this generation

sub old {
    my ($name, $generation) = @_;

    my @i = grep { $_->{state} =~ /^(starting|running|draining|stopping)$/ }
        $d->instances($name);
    my @ready = grep { $_->{ready} && $_->{generation} == $generation } @i;

    return @ready . ' ready of ' . @i;
}

$d->finish();
