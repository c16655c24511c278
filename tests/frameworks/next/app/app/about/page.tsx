import Link from 'next/link';

export const metadata = { title: 'About' };

export default function About() {
  return <Link id="next" href="/">on</Link>;
}
