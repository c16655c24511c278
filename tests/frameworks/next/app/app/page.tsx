import Link from 'next/link';

export const metadata = { title: 'Home' };

export default function Home() {
  return <Link id="next" href="/about">on</Link>;
}
